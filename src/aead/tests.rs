use super::{Cipher, Key, Library, TAG};

const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];

const LIBRARIES: [Library; 2] = [Library::AwsLc, Library::Ring];

fn key(library: Library, cipher: Cipher) -> Key {
    let key: Vec<u8> = (0..cipher.key_len() as u8).collect();
    Key::by(library, cipher, &key)
}

/// Around the lengths at which code for several blocks begins and ends.
fn lengths() -> impl Iterator<Item = usize> {
    (0..300).chain([511, 512, 513, 4095, 16_384, 65_535])
}

#[test]
fn libraries_seal_alike_and_open_each_others() {
    for cipher in CIPHERS {
        let [one, other] = LIBRARIES.map(|library| key(library, cipher));
        for len in lengths() {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let [a, b] = [&one, &other].map(|key| {
                let mut out = vec![0; len + TAG];
                key.seal([9; 12], &plain, &mut out);
                out
            });
            assert_eq!(a, b, "{cipher:?}, {len} bytes");
            for key in [&one, &other] {
                let mut opened = vec![0; len];
                key.open([9; 12], &a, &mut opened).unwrap();
                assert_eq!(opened, plain, "{cipher:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn nothing_opens_that_was_changed() {
    for cipher in CIPHERS {
        for key in LIBRARIES.map(|library| key(library, cipher)) {
            let mut sealed = vec![0; 40 + TAG];
            key.seal([1; 12], &[5; 40], &mut sealed);
            for at in [0, 20, 39, 40, 55] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.open([1; 12], &changed, &mut [0; 40]), None, "byte {at}");
            }
            assert_eq!(key.open([2; 12], &sealed, &mut [0; 40]), None, "the nonce");
            for len in 0..TAG {
                assert_eq!(key.open([1; 12], &sealed[..len], &mut []), None);
            }
        }
    }
}

#[test]
fn in_place_with_what_the_tag_vouches_for() {
    for cipher in CIPHERS {
        let [one, other] = LIBRARIES.map(|library| key(library, cipher));
        let mut sealed = b"text".to_vec();
        one.seal_in_place([1; 12], b"header", &mut sealed).unwrap();
        assert_eq!(sealed.len(), 4 + TAG);
        let mut opened = sealed.clone();
        other
            .open_in_place([1; 12], b"header", &mut opened)
            .unwrap();
        assert_eq!(opened, b"text");
        for key in [one, other] {
            assert_eq!(
                key.open_in_place([1; 12], b"Header", &mut sealed.clone()),
                None
            );
            assert_eq!(key.open_in_place([1; 12], b"", &mut vec![0; 3]), None);
        }
    }
}

/// Test vectors of the authors of GCM (case 4 without its header is case 3) and of RFC 8439, 2.8.2.
#[test]
fn vectors() {
    let key = hex_literal::hex!("feffe9928665731c6d6a8f9467308308");
    let plain = hex_literal::hex!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    );
    let sealed = hex_literal::hex!(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
        "4d5c2af327cd64a62cf35abd2ba6fab4"
    );
    let nonce = hex_literal::hex!("cafebabefacedbaddecaf888");
    for library in LIBRARIES {
        let mut out = [0; 80];
        Key::by(library, Cipher::Aes128Gcm, &key).seal(nonce, &plain, &mut out);
        assert_eq!(out, sealed);
    }
}

#[test]
fn names() {
    for library in LIBRARIES {
        assert_eq!(library.to_string().parse(), Ok(library));
    }
    let error = "openssl".parse::<Library>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no library of ciphers is called \"openssl\", expected `aws-lc` or `ring`"
    );
}
