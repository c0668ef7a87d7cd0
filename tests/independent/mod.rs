//! The handshake and the protection of datagrams written a second time, from proto.md and the Noise specification
//! alone: what `tests/vectors.rs` compares the program with. Only OPAQUE itself is a library's here too.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&parts.concat());
    mac.finalize().into_bytes().into()
}

/// ChaCha20-Poly1305, the tag at the end.
pub fn encrypt(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut text = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text).unwrap();
    text
}

/// The plaintext of [`encrypt`].
pub fn decrypt(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut text = text.to_vec();
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text).unwrap().to_vec()
}

/// The nonce of a datagram, or of a sealed page.
pub fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// The header of section 2.
pub fn header(kind: u8, session: u32, counter: u64) -> Vec<u8> {
    [&[0xd5, 0xe1, kind][..], &session.to_be_bytes(), &counter.to_be_bytes()].concat()
}

/// A sealed, credential, confirm or outcome datagram.
pub fn sealed(key: &[u8; 32], kind: u8, session: u32, counter: u64, body: &[u8]) -> Vec<u8> {
    let header = header(kind, session, counter);
    let body = encrypt(key, nonce(counter), &header, body);
    [header, body].concat()
}

/// A readable datagram.
pub fn readable(key: &[u8; 32], session: u32, counter: u64, body: &[u8]) -> Vec<u8> {
    let text = [&header(8, session, counter), body].concat();
    let tag = encrypt(key, nonce(counter), &text, b"");
    [text, tag].concat()
}

/// Noise's symmetric state of rev. 34, 5.2.
pub struct Noise {
    pub h: [u8; 32],
    ck: [u8; 32],
}

impl Noise {
    /// NK, for which both sides know the responder's static key from the beginning.
    pub fn new(prologue: &[u8], responder: &[u8; 32]) -> Noise {
        let name = *b"Noise_NK_25519_ChaChaPoly_SHA256";
        let mut noise = Noise { h: name, ck: name };
        noise.mix_hash(prologue);
        noise.mix_hash(responder);
        noise
    }

    /// Writes message 1: `e, es`.
    pub fn write_1(&mut self, ephemeral: &[u8; 32], responder: &[u8; 32], payload: &[u8]) -> Vec<u8> {
        let secret = StaticSecret::from(*ephemeral);
        let public = PublicKey::from(&secret).to_bytes();
        let (key, hash) = self.token(&public, &secret, responder);
        let text = encrypt(&key, [0; 12], &hash, payload);
        self.mix_hash(&text);
        [&public[..], &text].concat()
    }

    /// Reads message 2: `e, ee`.
    pub fn read_2(&mut self, ephemeral: &[u8; 32], message: &[u8]) -> Vec<u8> {
        let (public, text) = message.split_first_chunk().unwrap();
        let (key, hash) = self.token(public, &StaticSecret::from(*ephemeral), public);
        self.mix_hash(text);
        decrypt(&key, [0; 12], &hash, text)
    }

    /// An ephemeral key, then a Diffie-Hellman; returns the key and the hash that the payload is under.
    fn token(&mut self, public: &[u8; 32], ours: &StaticSecret, theirs: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
        self.mix_hash(public);
        let shared = ours.diffie_hellman(&PublicKey::from(*theirs));
        let (ck, key) = self.hkdf(shared.as_bytes());
        self.ck = ck;
        (key, self.h)
    }

    /// k1 and k2.
    pub fn split(&self) -> ([u8; 32], [u8; 32]) {
        self.hkdf(b"")
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = sha256(&[&self.h, data]);
    }

    fn hkdf(&self, input: &[u8]) -> ([u8; 32], [u8; 32]) {
        let key = hmac(&self.ck, &[input]);
        let first = hmac(&key, &[&[1]]);
        (first, hmac(&key, &[&first, &[2]]))
    }
}

/// Client to server, server to client.
pub type Keys = ([u8; 32], [u8; 32]);

/// The key schedule of section 3.
pub fn keys(k1: &[u8; 32], k2: &[u8; 32], h: &[u8; 32], secret: &[u8], purpose: &str) -> Keys {
    let ikm = [&k1[..], k2, secret].concat();
    let mut out = [0; 64];
    Hkdf::<Sha256>::new(Some(h), &ikm).expand(format!("preau 1 {purpose}").as_bytes(), &mut out).unwrap();
    (out[..32].try_into().unwrap(), out[32..].try_into().unwrap())
}
