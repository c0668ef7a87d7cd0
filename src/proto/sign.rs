//! Pages and tips that anybody can check, and pages sealed under a room key (proto.md, section 6). What stands in the
//! entries is `wire::entry`'s; which pages there are, the log's.

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use rand::RngCore;
use sha2::{Digest, Sha256};
use zeroize::ZeroizeOnDrop;

use super::datagram::{Key, hex};
use super::keys::{PublicKeys, ServerKeys};
use super::rng::Rng;
use super::suite::{Suite, fill, mix};
use crate::id::{Epoch, RoomId, Seq};
use crate::record::{PageHash, PageRecord};
use crate::wire::frame::SignedTip;
use crate::wire::limits::TAG;

/// The hash that the first page of a log names as its previous one.
pub const NO_PAGE: PageHash = [0; 32];

/// Bytes of a blob before its entries: the previous hash and the signature.
pub const BLOB_HEAD: usize = 32 + 64;

/// Which page: what its frame says in the clear, and its hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageId {
    /// Whose log.
    pub room: RoomId,
    /// The epoch it was signed in.
    pub epoch: Epoch,
    /// Seq of its first entry.
    pub first: Seq,
    /// How many entries.
    pub count: u16,
}

impl PageId {
    /// Room, epoch, first, count, big-endian: how hashes and seals begin.
    fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[..4].copy_from_slice(&self.room.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[16..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }
}

/// The hash that names a page, links the next one to it, and is what its signature covers.
pub fn page_hash(suite: Suite, id: PageId, previous: &PageHash, entries: &[u8]) -> PageHash {
    match suite {
        Suite::Real => {
            let mut hash = Sha256::new_with_prefix(b"preau page 1");
            hash.update(id.to_bytes());
            hash.update(previous);
            hash.update(entries);
            hash.finalize().into()
        }
        Suite::Null => fill(mix(&[b"page", &id.to_bytes(), previous, entries])),
    }
}

fn page_signed(hash: &PageHash) -> Vec<u8> {
    [b"preau page signature 1", &hash[..]].concat()
}

fn tip_signed(room: RoomId, epoch: Epoch, head: Seq, hash: &PageHash) -> Vec<u8> {
    let (room, epoch, head) = (room.0.to_be_bytes(), epoch.0.to_be_bytes(), head.0.to_be_bytes());
    [&b"preau tip 1"[..], &room, &epoch, &head, hash].concat()
}

fn sign(keys: &ServerKeys, message: &[u8]) -> [u8; 64] {
    match keys.signing() {
        Some(key) => key.sign(message).to_bytes(),
        None => null_signature(&keys.public().ed25519, message),
    }
}

fn null_signature(public: &[u8; 32], message: &[u8]) -> [u8; 64] {
    fill(mix(&[b"signature", public, message]))
}

/// Signs a page and makes its blob: what is stored, sent and repaired from then on.
pub fn sign_page(keys: &ServerKeys, id: PageId, previous: &PageHash, entries: &[u8]) -> PageRecord {
    let hash = page_hash(keys.suite(), id, previous, entries);
    let signature = sign(keys, &page_signed(&hash));
    let blob = [&previous[..], &signature, entries].concat();
    PageRecord { room: id.room, epoch: id.epoch, first: id.first, count: id.count, hash, blob }
}

/// Signs how far a log goes.
pub fn sign_tip(keys: &ServerKeys, room: RoomId, epoch: Epoch, head: Seq, hash: PageHash) -> SignedTip {
    let signature = sign(keys, &tip_signed(room, epoch, head, &hash));
    SignedTip { room, epoch, head, hash, signature }
}

/// The parts of a readable blob.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blob<'a> {
    /// Hash of the page before.
    pub previous: &'a PageHash,
    /// The server's.
    pub signature: &'a [u8; 64],
    /// The entries' bytes, as they stand.
    pub entries: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Its parts; None if it is too short to have them.
    pub fn split(blob: &'a [u8]) -> Option<Blob<'a>> {
        let (previous, rest) = blob.split_first_chunk::<32>()?;
        let (signature, entries) = rest.split_first_chunk::<64>()?;
        Some(Blob { previous, signature, entries })
    }
}

/// A signature that is not the server's over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// Checks one server's signatures.
#[derive(Clone, Debug)]
pub struct Verifier(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Real(VerifyingKey),
    Null([u8; 32]),
}

impl Verifier {
    /// For a server's public keys; None if they are no Ed25519 key.
    pub fn new(suite: Suite, keys: &PublicKeys) -> Option<Verifier> {
        match suite {
            Suite::Real => VerifyingKey::from_bytes(&keys.ed25519).ok().map(Verifier::from_key),
            Suite::Null => Some(Verifier::null(keys)),
        }
    }

    pub(super) fn from_key(key: VerifyingKey) -> Verifier {
        Verifier(Inner::Real(key))
    }

    pub(super) fn null(keys: &PublicKeys) -> Verifier {
        Verifier(Inner::Null(keys.ed25519))
    }

    fn suite(&self) -> Suite {
        match self.0 {
            Inner::Real(_) => Suite::Real,
            Inner::Null(_) => Suite::Null,
        }
    }

    /// The hash of a page whose readable blob bears the server's signature.
    ///
    /// # Errors
    /// [`BadSignature`], also for a blob too short to bear one.
    pub fn verify_page(&self, id: PageId, blob: &[u8]) -> Result<PageHash, BadSignature> {
        let Blob { previous, signature, entries } = Blob::split(blob).ok_or(BadSignature)?;
        let hash = page_hash(self.suite(), id, previous, entries);
        self.verify(&page_signed(&hash), signature)?;
        Ok(hash)
    }

    /// Whether a tip is this server's.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_tip(&self, tip: &SignedTip) -> Result<(), BadSignature> {
        self.verify(&tip_signed(tip.room, tip.epoch, tip.head, &tip.hash), &tip.signature)
    }

    fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        match &self.0 {
            Inner::Real(key) => key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| BadSignature),
            Inner::Null(public) if null_signature(public, message) == *signature => Ok(()),
            Inner::Null(_) => Err(BadSignature),
        }
    }
}

/// A sealed room's key. The nonce of a page is its first seq alone, so one key serves one room, and a seq is sealed
/// only once it is on disk: what was never committed may come back with other entries.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct RoomKey {
    /// 1–255: what a page frame names.
    pub number: u8,
    /// The key.
    pub key: [u8; 32],
}

impl RoomKey {
    /// A new key of that number.
    pub fn generate(number: u8, rng: &mut Rng) -> RoomKey {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        RoomKey { number, key }
    }

    /// The blob of a page frame in a sealed room, from the readable blob.
    pub fn seal(&self, suite: Suite, id: PageId, blob: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(blob.len() + TAG);
        sealed.extend_from_slice(blob);
        let tag = Key::new(suite, &self.key).encrypt(id.first.0, &self.aad(id), &mut sealed);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// The readable blob; None if it was not sealed under this key for this page.
    pub fn open(&self, suite: Suite, id: PageId, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut blob = sealed.to_vec();
        let length = Key::new(suite, &self.key).decrypt(id.first.0, &self.aad(id), &mut blob)?.len();
        blob.truncate(length);
        Some(blob)
    }

    /// The key's line of a key log (proto.md, section 15), without a line end.
    pub fn key_log_line(&self, room: RoomId) -> String {
        format!("ROOM {:08x} {:02x} {}", room.0, self.number, hex(&self.key))
    }

    fn aad(&self, id: PageId) -> [u8; 19] {
        let mut aad = [self.number; 19];
        aad[..18].copy_from_slice(&id.to_bytes());
        aad
    }
}

impl std::fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoomKey({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const ID: PageId = PageId { room: RoomId(1), epoch: Epoch(2), first: Seq(77), count: 3 };
    const SUITES: [Suite; 2] = [Suite::Real, Suite::Null];

    fn keys(suite: Suite, seed: u64) -> ServerKeys {
        ServerKeys::generate(suite, &mut Rng::seed_from_u64(seed))
    }

    fn others(id: PageId) -> [PageId; 4] {
        [
            PageId { room: RoomId(2), ..id },
            PageId { epoch: Epoch(3), ..id },
            PageId { first: Seq(78), ..id },
            PageId { count: 2, ..id },
        ]
    }

    /// Computed by other implementations of SHA-256 and RFC 8439.
    #[test]
    fn hash_and_seal_are_as_known() {
        let hash = page_hash(Suite::Real, ID, &[5; 32], b"entries");
        assert_eq!(hex(&hash), "0c5d4d85bf75e10b52d3297039746d60eb2dfa89e938569c3bce6dab35c7b31d");
        let blob = [&[5; 32][..], &[9; 64], b"entries"].concat();
        let sealed = RoomKey { number: 5, key: [6; 32] }.seal(Suite::Real, ID, &blob);
        assert_eq!(
            hex(&sealed),
            "6c77383e42e8a1b0fb141e08c1d8e2914edc91e2997537af939df2ed29b18332008a74396210cd9703d6d7ee7398d906895629bf1b\
             abb93e4aabb516a62f9be1b0f74c4c9b757b9fbf3ddb618cf5b047948089d36561005ff403b94e71b6cef88d36ea7be99c1483050a\
             ec6a89537e1910f284a4c34eac"
        );
    }

    #[test]
    fn a_page_is_its_server_s_and_no_other() {
        for suite in SUITES {
            let keys = keys(suite, 1);
            let page = sign_page(&keys, ID, &NO_PAGE, b"entries");
            let verifier = Verifier::new(suite, &keys.public()).unwrap();
            assert_eq!(verifier.verify_page(ID, &page.blob), Ok(page.hash));
            assert_eq!(keys.verifier().verify_page(ID, &page.blob), Ok(page.hash));
            let parts = Blob::split(&page.blob).unwrap();
            assert_eq!((parts.previous, parts.entries), (&NO_PAGE, &b"entries"[..]));
            for other in others(ID) {
                assert_eq!(verifier.verify_page(other, &page.blob), Err(BadSignature), "{other:?}");
            }
            for bit in 0..page.blob.len() * 8 {
                let mut flipped = page.blob.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(verifier.verify_page(ID, &flipped), Err(BadSignature), "bit {bit}");
            }
            for cut in 0..page.blob.len() {
                assert_eq!(verifier.verify_page(ID, &page.blob[..cut]), Err(BadSignature));
            }
            let stranger = self::keys(suite, 2).verifier();
            assert_eq!(stranger.verify_page(ID, &page.blob), Err(BadSignature));
        }
    }

    #[test]
    fn a_tip_is_its_server_s_and_no_page() {
        for suite in SUITES {
            let keys = keys(suite, 1);
            let tip = sign_tip(&keys, RoomId(1), Epoch(2), Seq(79), [7; 32]);
            let verifier = keys.verifier();
            assert_eq!(verifier.verify_tip(&tip), Ok(()));
            assert_eq!(SignedTip::from_bytes(&tip.to_bytes()), Some(tip));
            for other in [
                SignedTip { room: RoomId(2), ..tip },
                SignedTip { epoch: Epoch(3), ..tip },
                SignedTip { head: Seq(80), ..tip },
                SignedTip { hash: [8; 32], ..tip },
                SignedTip { signature: [0; 64], ..tip },
            ] {
                assert_eq!(verifier.verify_tip(&other), Err(BadSignature));
            }
            assert!(self::keys(suite, 2).verifier().verify_tip(&tip).is_err());
        }
    }

    #[test]
    fn a_sealed_page_opens_under_its_key_and_place_only() {
        for suite in SUITES {
            let mut rng = Rng::seed_from_u64(3);
            let key = RoomKey::generate(9, &mut rng);
            let blob = sign_page(&keys(suite, 1), ID, &NO_PAGE, b"entries").blob;
            let sealed = key.seal(suite, ID, &blob);
            assert_eq!(sealed.len(), blob.len() + TAG);
            assert_eq!(key.open(suite, ID, &sealed).as_ref(), Some(&blob));
            for other in others(ID) {
                assert_eq!(key.open(suite, other, &sealed), None, "{other:?}");
            }
            assert_eq!(RoomKey { number: 8, ..key.clone() }.open(suite, ID, &sealed), None);
            assert_eq!(RoomKey::generate(9, &mut rng).open(suite, ID, &sealed), None);
            assert_eq!(key.open(suite, ID, &sealed[..TAG - 1]), None);
        }
        let sealed = RoomKey { number: 1, key: [1; 32] }.seal(Suite::Real, ID, &[0; BLOB_HEAD]);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RoomKey { number: 1, key: [1; 32] }.open(Suite::Real, ID, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_public_key_that_is_none_is_refused() {
        let bytes = (0..=255).map(|byte| [byte; 32]).find(|key| VerifyingKey::from_bytes(key).is_err()).unwrap();
        assert!(Verifier::new(Suite::Real, &PublicKeys { ed25519: bytes, x25519: [0; 32] }).is_none());
    }
}
