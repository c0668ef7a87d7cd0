//! The Wireshark dissector, seen through tshark: every datagram and frame by its name, nothing malformed taken for
//! good, and no capture whatever that makes it fail.

mod capture;
mod story;

#[test]
fn print() {
    let reader = story::story().finish();
    for (i, line) in reader.infos(true).iter().enumerate() {
        println!("{} {line}", i + 1);
    }
    for (i, line) in reader.infos(false).iter().enumerate() {
        println!("{} {line}", i + 1);
    }
    println!("{}", reader.tshark(true, &["-V", "-O", "preau"]));
}
