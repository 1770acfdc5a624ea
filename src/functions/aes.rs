//! AES over columns: aes_encrypt, aes_decrypt, try_aes_decrypt.
//!
//! In: BINARY texts and keys, the mode (GCM, CBC, ECB), the padding, an initialization vector and additional data. Out: BINARY.
//! An encrypted value begins with its vector (GCM 12 bytes, CBC 16, ECB none); GCM's tag of 16 bytes ends it. Without a vector
//! each row gets a random one. The ciphers are those of the RustCrypto crates.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::cipher::block_padding::Pkcs7;
use aes_gcm::aes::cipher::consts::{U12, U16};
use aes_gcm::aes::cipher::{
    BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut, BlockSizeUser, KeyInit, KeyIvInit,
};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, Nonce};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

use super::arguments::{Compiled, coerced, constant};
use super::rows::{over_rows, put_bytes};
use super::{Call, Function, function};
use crate::{Error, Result};

const BINARY: DataType = DataType::Binary;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["aes_encrypt"], encrypt),
    function(&["aes_decrypt"], |call| decrypt(call, "aes_decrypt", false)),
    function(&["try_aes_decrypt"], |call| decrypt(call, "try_aes_decrypt", true)),
];

/// `aes_encrypt(text, key[, mode[, padding[, iv[, aad]]]])`.
fn encrypt(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=6, &[BINARY, BINARY, STRING, STRING, BINARY, BINARY])?;
    let args = filled(args, [lit("GCM"), lit("DEFAULT"), no_bytes(), no_bytes()]);
    let mode = Compiled::new(&[&args[2], &args[3]], |texts| Mode::of(texts[0], texts[1]))?;
    let kernel = over_rows("aes_encrypt", BINARY, move |rows| {
        let (texts, keys) = (rows.binaries(0)?, rows.binaries(1)?);
        let (modes, paddings) = (rows.strings(2)?, rows.strings(3)?);
        let (vectors, extras) = (rows.binaries(4)?, rows.binaries(5)?);
        let mut mode = mode.start();
        rows.try_give_binaries(|row, out| {
            let (text, key) = (texts.get(row)?, keys.get(row)?);
            let (names, iv, aad) = ([modes.get(row)?, paddings.get(row)?], vectors.get(row)?, extras.get(row)?);
            let sealed = mode.get(&names).and_then(|mode| mode.encrypt(key, text, iv, aad));
            Some(sealed.map(|sealed| put_bytes(out, &sealed)))
        })
    });
    // Without a vector equal rows give unequal results.
    let is_random = !matches!(constant(&args[4])?, Some(ScalarValue::Binary(Some(iv))) if !iv.is_empty());
    let kernel = if is_random { kernel.volatile() } else { kernel };
    Ok(kernel.fallible().call(args))
}

/// `aes_decrypt(text, key[, mode[, padding[, aad]]])`.
fn decrypt(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let args = coerced(&mut call, 2..=5, &[BINARY, BINARY, STRING, STRING, BINARY])?;
    let args = filled(args, [lit("GCM"), lit("DEFAULT"), no_bytes()]);
    let mode = Compiled::new(&[&args[2], &args[3]], |texts| Mode::of(texts[0], texts[1]))?;
    let kernel = over_rows(name, BINARY, move |rows| {
        let (texts, keys) = (rows.binaries(0)?, rows.binaries(1)?);
        let (modes, paddings, extras) = (rows.strings(2)?, rows.strings(3)?, rows.binaries(4)?);
        let mut mode = mode.start();
        rows.try_give_binaries(|row, out| {
            let (text, key) = (texts.get(row)?, keys.get(row)?);
            let (names, aad) = ([modes.get(row)?, paddings.get(row)?], extras.get(row)?);
            match mode.get(&names).and_then(|mode| mode.decrypt(key, text, aad)) {
                Ok(plain) => Some(Ok(put_bytes(out, &plain))),
                Err(_) if null_if_bad => None,
                Err(error) => Some(Err(error)),
            }
        })
    });
    Ok(kernel.fallible_if(!null_if_bad).call(args))
}

/// The arguments (two of them always given) with `defaults` for those that are missing at the end.
fn filled<const N: usize>(mut args: Vec<Expr>, defaults: [Expr; N]) -> Vec<Expr> {
    let given = args.len().saturating_sub(2);
    args.extend(defaults.into_iter().skip(given));
    args
}

fn no_bytes() -> Expr {
    lit(ScalarValue::Binary(Some(Vec::new())))
}

/// Mode of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ecb,
    Cbc,
    Gcm,
}

impl Mode {
    fn of(mode: &str, padding: &str) -> Result<Mode> {
        match (mode.to_ascii_uppercase().as_str(), padding.to_ascii_uppercase().as_str()) {
            ("ECB", "PKCS" | "DEFAULT") => Ok(Mode::Ecb),
            ("CBC", "PKCS" | "DEFAULT") => Ok(Mode::Cbc),
            ("GCM", "NONE" | "DEFAULT") => Ok(Mode::Gcm),
            _ => Err(Error::query(
                "UNSUPPORTED_FEATURE.AES_MODE",
                format!("AES-'{mode}' with the padding '{padding}' by the `aes_encrypt`/`aes_decrypt` functions is not supported"),
            )
            .hint("Use GCM with NONE, CBC with PKCS or ECB with PKCS.")),
        }
    }

    /// Bytes of its initialization vector.
    fn vector_length(self) -> usize {
        match self {
            Mode::Ecb => 0,
            Mode::Cbc => 16,
            Mode::Gcm => 12,
        }
    }

    fn encrypt(self, key: &[u8], text: &[u8], iv: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        let iv = self.vector(iv)?;
        self.check_extra(aad)?;
        match key.len() {
            16 => self.seal::<Aes128>(key, text, &iv, aad),
            24 => self.seal::<Aes192>(key, text, &iv, aad),
            32 => self.seal::<Aes256>(key, text, &iv, aad),
            other => Err(key_length(other)),
        }
    }

    fn decrypt(self, key: &[u8], text: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        self.check_extra(aad)?;
        let open = match key.len() {
            16 => Mode::open::<Aes128>,
            24 => Mode::open::<Aes192>,
            32 => Mode::open::<Aes256>,
            other => return Err(key_length(other)),
        };
        let (iv, sealed) = text.split_at_checked(self.vector_length()).ok_or_else(not_decrypted)?;
        open(self, key, sealed, iv, aad).ok_or_else(not_decrypted)
    }

    /// The vector given, or a random one.
    fn vector(self, given: &[u8]) -> Result<Vec<u8>> {
        if given.is_empty() {
            let mut random = vec![0; self.vector_length()];
            getrandom::fill(&mut random).map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
            return Ok(random);
        }
        if self == Mode::Ecb {
            return Err(unsupported("UNSUPPORTED_FEATURE.AES_MODE_IV", "ECB takes no initialization vector"));
        }
        if given.len() != self.vector_length() {
            let message =
                format!("the initialization vector should have {} bytes but has {}", self.vector_length(), given.len());
            return Err(Error::data("INVALID_PARAMETER_VALUE.AES_IV_LENGTH", message));
        }
        Ok(given.to_vec())
    }

    fn check_extra(self, aad: &[u8]) -> Result<()> {
        if aad.is_empty() || self == Mode::Gcm {
            return Ok(());
        }
        Err(unsupported("UNSUPPORTED_FEATURE.AES_MODE_AAD", "only GCM takes additional authenticated data"))
    }

    /// The vector and behind it the encrypted text.
    fn seal<C>(self, key: &[u8], text: &[u8], iv: &[u8], aad: &[u8]) -> Result<Vec<u8>>
    where
        C: BlockCipher + BlockSizeUser<BlockSize = U16> + BlockEncrypt + KeyInit,
    {
        let sealed = match self {
            Mode::Ecb => {
                ecb::Encryptor::<C>::new_from_slice(key).ok().map(|cipher| cipher.encrypt_padded_vec_mut::<Pkcs7>(text))
            }
            Mode::Cbc => cbc::Encryptor::<C>::new_from_slices(key, iv)
                .ok()
                .map(|cipher| cipher.encrypt_padded_vec_mut::<Pkcs7>(text)),
            Mode::Gcm => AesGcm::<C, U12>::new_from_slice(key)
                .ok()
                .and_then(|cipher| cipher.encrypt(Nonce::from_slice(iv), Payload { msg: text, aad }).ok()),
        };
        let sealed = sealed.ok_or_else(|| crypto("the text cannot be encrypted"))?;
        Ok([iv, &sealed].concat())
    }

    /// The plain text; nothing if key and text do not fit.
    fn open<C>(self, key: &[u8], sealed: &[u8], iv: &[u8], aad: &[u8]) -> Option<Vec<u8>>
    where
        C: BlockCipher + BlockSizeUser<BlockSize = U16> + BlockEncrypt + BlockDecrypt + KeyInit,
    {
        match self {
            Mode::Ecb => ecb::Decryptor::<C>::new_from_slice(key).ok()?.decrypt_padded_vec_mut::<Pkcs7>(sealed).ok(),
            Mode::Cbc => {
                cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?.decrypt_padded_vec_mut::<Pkcs7>(sealed).ok()
            }
            Mode::Gcm => {
                let cipher = AesGcm::<C, U12>::new_from_slice(key).ok()?;
                cipher.decrypt(Nonce::from_slice(iv), Payload { msg: sealed, aad }).ok()
            }
        }
    }
}

fn key_length(length: usize) -> Error {
    let message = format!("the key of `aes_encrypt`/`aes_decrypt` should have 16, 24 or 32 bytes but has {length}");
    Error::data("INVALID_PARAMETER_VALUE.AES_KEY_LENGTH", message)
}

fn unsupported(condition: &'static str, message: &str) -> Error {
    Error::data(condition, message)
}

fn not_decrypted() -> Error {
    crypto("the text cannot be decrypted with this key")
}

fn crypto(message: &str) -> Error {
    Error::data("INVALID_PARAMETER_VALUE.AES_CRYPTO_ERROR", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"abcdefghijklmnop12345678ABCDEFGH";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Spark 4.3's results for these arguments.
    #[test]
    fn what_spark_encrypts() {
        let ecb = Mode::Ecb.encrypt(b"0000111122223333", b"Spark", b"", b"").unwrap();
        assert_eq!(hex(&ecb), "348ff37ebde05b7880ba339068fbda5e");
        let cbc = Mode::Cbc.encrypt(KEY, b"Spark", &[0; 16], b"").unwrap();
        assert_eq!(hex(&cbc), "00000000000000000000000000000000f49de265b2319e6686f8e200f4099df8");
        let gcm = Mode::Gcm.encrypt(KEY, b"Spark", &[0; 12], b"This is an AAD mixed into the input").unwrap();
        assert_eq!(hex(&gcm), "000000000000000000000000422622fac4cb9bb283f54719da79517580defcf5f8");
    }

    #[test]
    fn every_mode_and_key_length_comes_back() {
        for mode in [Mode::Ecb, Mode::Cbc, Mode::Gcm] {
            for length in [16, 24, 32] {
                let sealed = mode.encrypt(&KEY[..length], b"some text", b"", b"").unwrap();
                assert_eq!(mode.decrypt(&KEY[..length], &sealed, b"").unwrap(), b"some text");
                let wrong = mode.decrypt(&KEY[..length], b"too short", b"").unwrap_err();
                assert_eq!(wrong.condition(), Some("INVALID_PARAMETER_VALUE.AES_CRYPTO_ERROR"));
            }
        }
    }

    #[test]
    fn wrong_parameters_have_sparks_conditions() {
        let condition = |result: Result<Vec<u8>>| result.unwrap_err().condition().unwrap_or_default().to_owned();
        assert_eq!(condition(Mode::Gcm.encrypt(b"short", b"a", b"", b"")), "INVALID_PARAMETER_VALUE.AES_KEY_LENGTH");
        assert_eq!(condition(Mode::Cbc.encrypt(KEY, b"a", b"x", b"")), "INVALID_PARAMETER_VALUE.AES_IV_LENGTH");
        assert_eq!(condition(Mode::Ecb.encrypt(KEY, b"a", &[0; 16], b"")), "UNSUPPORTED_FEATURE.AES_MODE_IV");
        assert_eq!(condition(Mode::Cbc.encrypt(KEY, b"a", b"", b"aad")), "UNSUPPORTED_FEATURE.AES_MODE_AAD");
        let mode = Mode::of("ECB", "NONE").unwrap_err();
        assert_eq!(mode.condition(), Some("UNSUPPORTED_FEATURE.AES_MODE"));
    }
}
