//! Compressed files, told by their suffix: `.gz`, `.zst`, `.bz2`, `.deflate`.
//!
//! In: a file. Out: a reader of its plain bytes that refuses bombs: a stream whose output exceeds a ratio of its input,
//! or a total, fails with the file's name instead of filling memory or time. Also compresses blocks for writers.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::{OptionSpec, Options, option};
use crate::{Error, Result};

/// Options about compression, for every reader of files.
pub const OPTIONS: &[OptionSpec] = &[
    option("maxDecompressedBytes", "", "a compressed file that expands to more fails; no limit by default"),
    option("maxCompressionRatio", "2000", "a compressed file that expands by more than this (beyond 64 MiB) fails"),
];

/// Below this many bytes the ratio is not looked at: short runs of equal bytes are no attack.
const RATIO_FROM: u64 = 64 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// gzip, `.gz`.
    Gzip,
    /// Zstandard, `.zst`.
    Zstd,
    /// bzip2, `.bz2`.
    Bzip2,
    /// zlib, `.deflate`.
    Deflate,
}

/// How far a compressed file may expand.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most plain bytes of one file.
    pub bytes: u64,
    /// Most plain bytes per compressed byte, once the output exceeds 64 MiB.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: u64::MAX, ratio: 2000 }
    }
}

impl Limits {
    /// The limits that the options ask for.
    pub fn of(options: &Options) -> Result<Limits> {
        let default = Limits::default();
        Ok(Limits {
            bytes: options.number("maxDecompressedBytes")?.unwrap_or(default.bytes),
            ratio: options.number("maxCompressionRatio")?.unwrap_or(default.ratio).max(1),
        })
    }
}

impl Codec {
    /// The codec that the suffix of a file's name tells.
    pub fn of_path(path: &Path) -> Codec {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        match suffix.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Codec::Gzip,
            "zst" => Codec::Zstd,
            "bz2" => Codec::Bzip2,
            "deflate" => Codec::Deflate,
            _ => Codec::Plain,
        }
    }

    /// The codec of this name, as option `compression` of a text-like writer gives it.
    ///
    /// # Errors
    /// `CODEC_NOT_AVAILABLE.WITH_AVAILABLE_CODECS_SUGGESTION` for other names.
    pub fn parse(name: &str) -> Result<Codec> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" | "" => Codec::Plain,
            "gzip" => Codec::Gzip,
            "zstd" => Codec::Zstd,
            "bzip2" => Codec::Bzip2,
            "deflate" => Codec::Deflate,
            _ => return Err(unknown_codec(name)),
        })
    }

    /// What the codec adds to a file's name: `.gz`, or nothing.
    pub fn suffix(self) -> &'static str {
        match self {
            Codec::Plain => "",
            Codec::Gzip => ".gz",
            Codec::Zstd => ".zst",
            Codec::Bzip2 => ".bz2",
            Codec::Deflate => ".deflate",
        }
    }

    /// Compresses everything at once: the contents of one file.
    pub fn compress(self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(match self {
            Codec::Plain => bytes,
            Codec::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                writer.write_all(&bytes)?;
                writer.finish()?
            }
            Codec::Zstd => zstd::encode_all(bytes.as_slice(), zstd::DEFAULT_COMPRESSION_LEVEL)?,
            Codec::Bzip2 => {
                let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
                writer.write_all(&bytes)?;
                writer.finish()?
            }
            Codec::Deflate => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                writer.write_all(&bytes)?;
                writer.finish()?
            }
        })
    }

    /// A reader of the plain bytes of a compressed stream; `place` names it in errors.
    pub fn reader<R: Read + Send + 'static>(
        self,
        input: R,
        limits: Limits,
        place: &str,
    ) -> Result<Box<dyn Read + Send>> {
        if self == Codec::Plain {
            return Ok(Box::new(input));
        }
        let read = Arc::new(AtomicU64::new(0));
        let counted = BufReader::new(Counted { inner: input, read: read.clone() });
        let inner: Box<dyn Read + Send> = match self {
            Codec::Plain | Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(counted)),
            Codec::Zstd => Box::new(zstd::Decoder::with_buffer(counted)?),
            Codec::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(counted)),
            Codec::Deflate => Box::new(flate2::bufread::ZlibDecoder::new(counted)),
        };
        Ok(Box::new(Bounded { inner, read, written: 0, limits, place: place.to_owned() }))
    }
}

fn unknown_codec(name: &str) -> Error {
    Error::query(
        "CODEC_NOT_AVAILABLE.WITH_AVAILABLE_CODECS_SUGGESTION",
        format!("compression '{name}' is not available"),
    )
    .hint("Use none, gzip, zstd, bzip2 or deflate.")
}

/// Opens a file for reading, decompressing by its suffix.
///
/// # Errors
/// The file cannot be opened. Reading fails beyond `limits`, or if the compressed data is damaged.
pub fn open(path: &Path, limits: Limits) -> Result<Box<dyn Read + Send>> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|cause| Error::from(cause).at(place.clone()))?;
    Codec::of_path(path).reader(file, limits, &place)
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Fails once the output exceeds the limits.
struct Bounded {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    written: u64,
    limits: Limits,
    place: String,
}

impl Bounded {
    fn check(&self) -> io::Result<()> {
        let by_ratio = self.read.load(Ordering::Relaxed).max(1).saturating_mul(self.limits.ratio);
        if self.written <= self.limits.bytes && (self.written <= RATIO_FROM || self.written <= by_ratio) {
            return Ok(());
        }
        let error = Error::data("FAILED_READ_FILE", "the compressed file expands beyond the limit")
            .at(self.place.clone())
            .hint("Raise maxDecompressedBytes or maxCompressionRatio if the file is meant to be this large.");
        Err(io::Error::other(error))
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|cause| io::Error::new(cause.kind(), self.damaged(&cause)))?;
        self.written += count as u64;
        self.check()?;
        Ok(count)
    }
}

impl Bounded {
    fn damaged(&self, cause: &io::Error) -> Error {
        Error::data("FAILED_READ_FILE", format!("the compressed file cannot be read: {cause}")).at(self.place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Deflate];

    fn plain(codec: Codec, bytes: Vec<u8>, limits: Limits) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut reader = codec.reader(io::Cursor::new(bytes), limits, "file.x").map_err(io::Error::other)?;
        reader.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_written_reads_back_by_suffix() {
        let folder = tempfile::tempdir().unwrap();
        for codec in CODECS {
            let path = folder.path().join(format!("a.json{}", codec.suffix()));
            std::fs::write(&path, codec.compress(b"some text".repeat(100)).unwrap()).unwrap();
            assert_eq!(Codec::of_path(&path), codec);
            let mut text = String::new();
            open(&path, Limits::default()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "some text".repeat(100));
        }
    }

    #[test]
    fn d10_a_bomb_fails_with_the_name_of_the_file() {
        let bomb = Codec::Zstd.compress(vec![0; (RATIO_FROM + (1 << 20)) as usize]).unwrap();
        let error = plain(Codec::Zstd, bomb, Limits::default()).unwrap_err();
        assert!(error.to_string().contains("expands beyond the limit (at file.x)"), "{error}");
        for codec in CODECS {
            let limits = Limits { bytes: 999, ratio: 1000 };
            assert!(plain(codec, codec.compress(vec![0; 1000]).unwrap(), limits).is_err());
        }
    }

    #[test]
    fn d10_damaged_data_is_an_error() {
        for codec in CODECS {
            let mut bytes = codec.compress(b"some text".repeat(100)).unwrap();
            bytes.truncate(bytes.len() / 2);
            assert!(plain(codec, bytes, Limits::default()).is_err(), "{codec:?}");
            assert!(plain(codec, b"not compressed at all".to_vec(), Limits::default()).is_err());
        }
    }

    #[test]
    fn unknown_codecs_are_refused() {
        assert!(Codec::parse("lzma").unwrap_err().to_string().contains("'lzma'"));
    }
}
