//! Audio files of the softphone: what is played, and what was heard.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::decode::{Limits, decode};
use lockstep_media::prompt::encode::encode;

use crate::phone::{Heard, write_g711_wav};

/// Sample rate of the codecs, Hz.
const RATE: u32 = 8_000;

/// Reads a file of any format the engine plays.
pub(super) fn load(path: &Path, codec: Codec) -> Result<Arc<EncodedPrompt>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let limits = Limits::default();
    let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
    if size > limits.max_bytes {
        return Err(named(&format!("{size} bytes, at most {} expected", limits.max_bytes)));
    }
    let bytes = std::fs::read(path).map_err(|error| named(&error))?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let audio = decode(&bytes.into(), extension, RATE, &limits, &mut || false).map_err(|error| named(&error))?;
    Ok(Arc::new(encode(&audio, codec)))
}

/// Whether [`save`] could write there, as far as that shows before there is a call.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(format!("{}: there is no folder {}", path.display(), folder.display()));
    }
    if path.is_dir() { Err(format!("{}: expected a file, found a folder", path.display())) } else { Ok(()) }
}

/// Writes what was heard; returns its length. A call without audio gives an empty file.
pub(super) fn save(path: &Path, heard: &Heard) -> Result<Duration, String> {
    let (codec, octets, duration) =
        heard.with(|capture| (capture.codec().unwrap_or(Codec::Pcmu), capture.octets().to_vec(), capture.duration()));
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        write_g711_wav(&mut file, codec, &octets)?;
        file.flush()
    };
    write().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(duration)
}

/// The path for the n-th call: `heard.wav`, `heard-2.wav`, ….
pub(super) fn numbered(path: &Path, call: u32) -> std::path::PathBuf {
    if call <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{call}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_written_to_a_file_in_a_folder_that_is_there() {
        let folder = std::env::temp_dir();
        assert_eq!(check(&folder.join("heard.wav")), Ok(()));
        assert_eq!(check(Path::new("heard.wav")), Ok(()));
        assert!(check(&folder.join("no-such-folder/heard.wav")).is_err());
        assert!(check(&folder).is_err());
    }

    #[test]
    fn later_calls_get_files_of_their_own() {
        assert_eq!(numbered(Path::new("a/heard.wav"), 1), Path::new("a/heard.wav"));
        assert_eq!(numbered(Path::new("a/heard.wav"), 2), Path::new("a/heard-2.wav"));
        assert_eq!(numbered(Path::new("heard"), 3), Path::new("heard-3"));
    }
}
