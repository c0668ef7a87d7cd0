//! What people type and what people see, pure: names, the meaning of a typed line, text made safe to show
//! (proto.md, section 11).
//!
//! Nothing here knows an account, a screen or a socket; it uses [`id`](crate::id) alone. Which names are members' is
//! told by the caller.

pub mod compose;
pub mod name;
pub mod show;

#[cfg(test)]
mod tests {
    use super::{compose, name};
    use crate::wire::limits;

    #[test]
    fn the_bounds_here_are_those_of_the_wire() {
        assert_eq!(compose::TEXT_BYTES, limits::TEXT);
        assert_eq!(compose::RECIPIENTS, limits::RECIPIENTS);
        assert_eq!(name::USERNAME_CHARS, limits::USERNAME);
        assert_eq!(name::PERSON_NAME_CHARS, limits::PERSON_NAME);
    }
}
