//! Cookies: an address shows that it hears us before anything is kept or computed for it (proto.md, section 4).

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use super::rng::Rng;
use crate::now::Instant;
use crate::wire::limits::{COOKIE, COOKIE_LIFETIME};

/// The server's secret behind its cookies, new at each start.
#[derive(ZeroizeOnDrop)]
pub struct CookieKey([u8; 32]);

impl CookieKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> CookieKey {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        CookieKey(key)
    }

    /// The cookie of an address and attempt, good for [`COOKIE_LIFETIME`], rounded up to whole seconds.
    pub fn make(&self, addr: SocketAddr, attempt: u64, now: Instant) -> [u8; COOKIE] {
        let expiry = (now + COOKIE_LIFETIME).0.div_ceil(1_000_000) as u32;
        self.cookie(addr, attempt, expiry)
    }

    /// Whether this is a cookie of ours for this address and attempt that has not expired.
    pub fn check(&self, addr: SocketAddr, attempt: u64, cookie: &[u8; COOKIE], now: Instant) -> bool {
        let [e0, e1, e2, e3, ..] = *cookie;
        let expiry = u32::from_be_bytes([e0, e1, e2, e3]);
        let genuine: bool = self.cookie(addr, attempt, expiry).ct_eq(cookie).into();
        genuine && now.0 <= u64::from(expiry) * 1_000_000
    }

    fn cookie(&self, addr: SocketAddr, attempt: u64, expiry: u32) -> [u8; COOKIE] {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"preau cookie 1");
        mac.update(&ip.octets());
        mac.update(&addr.port().to_be_bytes());
        mac.update(&attempt.to_be_bytes());
        mac.update(&expiry.to_be_bytes());
        let mut cookie = [0; COOKIE];
        cookie[..4].copy_from_slice(&expiry.to_be_bytes());
        cookie[4..].copy_from_slice(&mac.finalize().into_bytes()[..COOKIE - 4]);
        cookie
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_address_attempt_and_time_only() {
        let mut rng = Rng::seed_from_u64(1);
        let key = CookieKey::generate(&mut rng);
        let addr: SocketAddr = "192.168.1.7:40000".parse().unwrap();
        let now = Instant(5_000_001);
        let cookie = key.make(addr, 9, now);
        assert!(key.check(addr, 9, &cookie, now));
        assert!(key.check("[::ffff:192.168.1.7]:40000".parse().unwrap(), 9, &cookie, now), "the same address");
        assert!(key.check(addr, 9, &cookie, now + COOKIE_LIFETIME));
        assert!(!key.check(addr, 9, &cookie, now + COOKIE_LIFETIME + Duration::from_secs(1)));
        assert!(!key.check(addr, 8, &cookie, now));
        assert!(!key.check("192.168.1.7:40001".parse().unwrap(), 9, &cookie, now));
        assert!(!key.check("192.168.1.8:40000".parse().unwrap(), 9, &cookie, now));
        for bit in 0..COOKIE * 8 {
            let mut other = cookie;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.check(addr, 9, &other, now), "bit {bit}");
        }
        assert!(!CookieKey::generate(&mut rng).check(addr, 9, &cookie, now), "another start's key");
    }
}
