//! The service `uploads`: files of a form, which lie in the run's scratch folder, for `fs` of packages and scripts.

use bytes::Bytes;
use lockstep_ctx_api::ErrorCode;
use lockstep_ctx_api::host::HostReply;
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};

use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};

/// Bytes of one answer: well below what a frame to a worker holds.
const CHUNK: u64 = 4 << 20;

/// See the module.
pub(super) struct Uploads;

impl HostService for Uploads {
    /// `read(path, offset)` → the file's size, and up to [`CHUNK`] bytes of it.
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _body: Option<Bytes>) -> HostFuture {
        if function != "read" {
            return no_such_function(&args);
        }
        let (path, offset) = match args.text("path").and_then(|path| Ok((path, args.number("offset")?))) {
            Ok(asked) => asked,
            Err(error) => return answered(Err(error)),
        };
        let missing = args.error(ErrorCode::NotFound, format_args!("{path}: no such upload"));
        // A folder that nobody has made has no files; asking must not make it.
        if !context.scratch.is_made() {
            return answered(Err(missing));
        }
        let scratch = context.scratch.clone();
        Box::pin(async move {
            let Ok(Some(file)) = scratch.resolve(&path) else { return Err(missing) };
            let read = async {
                let size = tokio::fs::symlink_metadata(&file).await.ok().filter(std::fs::Metadata::is_file)?.len();
                let mut file = File::open(&file).await.ok()?;
                file.seek(SeekFrom::Start(offset.max(0.0) as u64)).await.ok()?;
                let mut bytes = Vec::new();
                file.take(CHUNK).read_to_end(&mut bytes).await.ok()?;
                Some(HostReply { value: json!({ "size": size }).to_string(), body: Some(bytes) })
            };
            read.await.ok_or(missing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(context: &RunContext, path: &str, offset: u64) -> Result<HostReply, ErrorCode> {
        let args = Arguments::new("uploads.read".to_owned(), vec![json!(path), json!(offset)]);
        Uploads.call(context, "read", args, None).await.map_err(|error| error.code)
    }

    #[tokio::test]
    async fn an_upload_is_read_in_pieces_and_nothing_outside_the_folder() {
        let context = RunContext::default();
        assert_eq!(read(&context, "/upload-1.csv", 0).await, Err(ErrorCode::NotFound));
        assert!(!context.scratch.is_made());
        let dir = context.scratch.dir().unwrap().to_owned();
        std::fs::write(dir.join("upload-1.csv"), vec![b'x'; (CHUNK + 3) as usize]).unwrap();
        let first = read(&context, "/upload-1.csv", 0).await.unwrap();
        assert_eq!(first.value, json!({ "size": CHUNK + 3 }).to_string());
        assert_eq!(first.body.map(|body| body.len()), Some(CHUNK as usize));
        let rest = read(&context, "/upload-1.csv", CHUNK).await.unwrap();
        assert_eq!(rest.body.as_deref(), Some(&b"xxx"[..]));
        std::os::unix::fs::symlink("/etc/passwd", dir.join("upload-2")).unwrap();
        for path in ["/upload-2", "../x", "/", "/nothing"] {
            assert_eq!(read(&context, path, 0).await, Err(ErrorCode::NotFound), "{path}");
        }
    }
}
