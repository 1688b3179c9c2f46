//! Makes one text of each package, with esbuild, which npm installs beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockstep_ctx_api::packages::{NODE, PackageModule};
use serde::Deserialize;

use super::BUNDLES;
use super::manifest::{AllowList, BundledPackage, Manifest, PackageJson};
use super::names::package_of;
use crate::script::programs::digest_of;

/// What QuickJS understands.
const TARGET: &str = "--target=es2022";
/// How packages are bundled.
const PACKAGE: [&str; 2] = ["--platform=node", "--supported:dynamic-import=false"];
/// The runtime's own half of the built-in modules.
const PLATFORM_MODULE: &str = "lockstep:host";

/// Why there are no bundles.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{0}: expected a package.json with a `lockstep` section (docs/modules.md)")]
    NoAllowList(PathBuf),
    #[error("{module}: the package is not installed; run `npm ci --prefix {dir}`")]
    NotInstalled { module: String, dir: PathBuf },
    #[error("{what} could not be bundled:\n{why}")]
    Failed { what: String, why: String },
    #[error("{0}")]
    Unreadable(String),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
}

/// Bundles what the `package.json` of `dir` allows; the new bundles replace the old ones at once.
///
/// # Errors
/// When something is not installed, or esbuild refuses it.
pub fn bundle(dir: &Path) -> Result<Manifest, BundleError> {
    let allow_list = PackageJson::read(dir)
        .map_err(BundleError::Unreadable)?
        .and_then(|package| package.lockstep)
        .ok_or_else(|| BundleError::NoAllowList(dir.to_owned()))?;
    let lock = dir.join("package-lock.json");
    let lock_text = std::fs::read_to_string(&lock).map_err(|error| BundleError::Io { path: lock, error })?;
    let fresh = dir.join(format!("{BUNDLES}.new"));
    let io = |error| BundleError::Io { path: fresh.clone(), error };
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(&fresh).map_err(io)?;

    let bundler = Bundler { dir, out: &fresh, allow_list: &allow_list, esbuild: esbuild(dir)? };
    let mut manifest = Manifest::new(digest_of(&lock_text).sha256);
    bundler.add_builtins(&mut manifest)?;
    let mut packages: BTreeMap<&str, Vec<(&str, bool)>> = BTreeMap::new();
    for (module, public) in allow_list.modules() {
        packages.entry(package_of(module)).or_default().push((module, public));
    }
    for (package, modules) in packages {
        bundler.add_package(&mut manifest, package, &modules)?;
    }
    manifest.write(&fresh).map_err(io)?;
    let place = dir.join(BUNDLES);
    let former = dir.join(format!("{BUNDLES}.former"));
    let unless_absent = |result: std::io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BundleError::Io { path: path.to_owned(), error }),
        Ok(()) | Err(_) => Ok(()),
    };
    // An engine that starts meanwhile is not to find that there are none: they are away for the moment between two renames.
    unless_absent(std::fs::remove_dir_all(&former), &former)?;
    unless_absent(std::fs::rename(&place, &former), &place)?;
    std::fs::rename(&fresh, &place).map_err(|error| BundleError::Io { path: place, error })?;
    unless_absent(std::fs::remove_dir_all(&former), &former)?;
    Ok(manifest)
}

/// esbuild's own executable: the one named `esbuild` is a script that needs Node.
fn esbuild(dir: &Path) -> Result<PathBuf, BundleError> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("@esbuild/{}-{arch}", std::env::consts::OS);
    let path = dir.join("node_modules").join(&package).join("bin/esbuild");
    if path.is_file() { Ok(path) } else { Err(BundleError::NotInstalled { module: package, dir: dir.to_owned() }) }
}

struct Bundler<'a> {
    dir: &'a Path,
    out: &'a Path,
    allow_list: &'a AllowList,
    esbuild: PathBuf,
}

impl Bundler<'_> {
    /// Node's built-in modules: our own, and what they are made of.
    fn add_builtins(&self, manifest: &mut Manifest) -> Result<(), BundleError> {
        let aliases = [
            "--alias:abort-controller=./node/abort_controller.js",
            "--alias:buffer=./node/buffer.js",
            "--alias:process=./node/process",
            "--alias:qs=./node/qs.js",
            "--alias:readable-stream=readable-stream/lib/ours/browser.js",
        ];
        let arguments: Vec<String> = ["--platform=neutral", "--main-fields=main"]
            .into_iter()
            .chain(aliases)
            .map(str::to_owned)
            .chain([format!("--external:{PLATFORM_MODULE}")])
            .collect();
        let mut bundled = self.run(NODE, "module.exports = require('./node/index.js');\n", &arguments)?;
        bundled.version = env!("CARGO_PKG_VERSION").to_owned();
        manifest.packages.insert(NODE.to_owned(), bundled);
        for (name, public) in self.allow_list.builtins() {
            let module = PackageModule { package: NODE.to_owned(), entry: name.to_owned(), public };
            manifest.modules.insert(format!("{NODE}:{name}"), module);
        }
        Ok(())
    }

    fn add_package(&self, manifest: &mut Manifest, package: &str, modules: &[(&str, bool)]) -> Result<(), BundleError> {
        let not_installed = || BundleError::NotInstalled { module: package.to_owned(), dir: self.dir.to_owned() };
        let installed = PackageJson::read(&self.dir.join("node_modules").join(package))
            .map_err(BundleError::Unreadable)?
            .ok_or_else(not_installed)?;
        let mut stub = String::from("module.exports = {\n");
        for (module, public) in modules {
            let name = serde_json::Value::from(*module);
            stub += &format!("  {name}: () => require({name}),\n");
            let module = PackageModule { package: package.to_owned(), entry: (*module).to_owned(), public: *public };
            manifest.modules.insert(name.as_str().unwrap_or_default().to_owned(), module);
        }
        stub += "};\n";
        // A peer is shared: an object of the one package must be known to the other.
        let is_allowed = |name: &str| self.allow_list.modules().any(|(module, _)| package_of(module) == name);
        let peers = installed.peer_dependencies.keys().filter(|peer| is_allowed(peer));
        let externals = peers.chain(&self.allow_list.external).map(|name| format!("--external:{name}"));
        let mut arguments: Vec<String> = PACKAGE.into_iter().map(str::to_owned).chain(externals).collect();
        let folders: Vec<&str> = self.allow_list.folders_of(package).collect();
        if !folders.is_empty() {
            arguments.push(asking_for(package, &folders));
        }
        let mut bundled = self.run(package, &stub, &arguments)?;
        for folder in folders {
            bundled.requires.insert(self.add_folder(manifest, package, folder, &installed.version)?);
        }
        bundled.version = installed.version;
        manifest.packages.insert(package.to_owned(), bundled);
        Ok(())
    }

    /// Files that a package loads by names it makes up: a text of their own, which is compiled when one of them is asked for. What
    /// they call `../moment` is the package. The name of the text.
    fn add_folder(&self, manifest: &mut Manifest, package: &str, folder: &str, version: &str) -> Result<String, BundleError> {
        let name = format!("{package}/{folder}");
        let path = self.dir.join("node_modules").join(&name);
        let files = file_names(&path).map_err(|error| BundleError::Io { path, error })?;
        let mut stub = String::from("const files = {\n");
        for file in files.iter().filter_map(|file| file.strip_suffix(".js")) {
            stub += &format!("  \"./{folder}/{file}\": () => require(\"{name}/{file}\"),\n");
        }
        stub += &format!(
            "}};\nmodule.exports = {{ \"{name}\": () => (name) => {{\n  \
             if (!Object.hasOwn(files, name)) throw new Error(`Cannot find module '${{name}}'`);\n  return files[name]();\n}} }};\n"
        );
        let own = format!("--banner:js=require=((outer)=>(name)=>outer(name===\"../{package}\"?\"{package}\":name))(require);");
        let arguments = [format!("--external:*/{package}"), own];
        let arguments: Vec<String> = PACKAGE.into_iter().map(str::to_owned).chain(arguments).collect();
        let mut bundled = self.run(&name, &stub, &arguments)?;
        bundled.version = version.to_owned();
        bundled.requires.insert(package.to_owned());
        manifest.packages.insert(name.clone(), bundled);
        manifest.modules.insert(name.clone(), PackageModule { package: name.clone(), entry: name.clone(), public: false });
        Ok(name)
    }

    /// Bundles `stub`, which names what is wanted of `package`.
    fn run(&self, package: &str, stub: &str, arguments: &[String]) -> Result<BundledPackage, BundleError> {
        let failed = |why: String| BundleError::Failed { what: package.to_owned(), why };
        let file = format!("{}.js", package.replace(['/', '@'], "_"));
        let outputs = [self.out.join(&file), self.out.join("meta.json")];
        let [text, meta] = outputs.each_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        let esbuild = std::path::absolute(&self.esbuild).unwrap_or_else(|_| self.esbuild.clone());
        let mut child = Command::new(esbuild)
            .current_dir(self.dir)
            .args(["--bundle", "--format=cjs", TARGET, "--minify-whitespace", "--minify-syntax", "--legal-comments=none"])
            // Text outside ASCII is smaller, and every bundle is read as UTF-8.
            .args(["--charset=utf8", "--log-level=error", "--color=false"])
            .args(arguments)
            .arg(format!("--outfile={}", text.display()))
            .arg(format!("--metafile={}", meta.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // What esbuild did not read it says itself.
            let _ = stdin.write_all(stub.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| BundleError::Io { path: path.to_owned(), error });
        let source = read(&text)?;
        let requires = self.required(package, &source, &read(&meta)?).map_err(failed)?;
        let _ = std::fs::remove_file(&meta);
        let digest = digest_of(&source);
        Ok(BundledPackage { version: String::new(), file, bytes: digest.bytes, sha256: digest.sha256, requires })
    }

    /// The packages whose modules a bundle loads, by what esbuild left as `require`.
    fn required(&self, package: &str, source: &str, meta: &str) -> Result<BTreeSet<String>, String> {
        let meta: Meta = serde_json::from_str(meta).map_err(|error| error.to_string())?;
        let mut required = BTreeSet::new();
        for import in meta.outputs.values().flat_map(|output| &output.imports).filter(|import| import.external) {
            let name = import.path.strip_prefix("node:").unwrap_or(&import.path);
            if self.allow_list.builtins().any(|(builtin, _)| builtin == name) {
                required.insert(NODE.to_owned());
            } else if let Some((module, _)) = self.allow_list.modules().find(|(module, _)| *module == import.path) {
                required.insert(package_of(module).to_owned());
            }
        }
        // The global `process` comes with them.
        if source.contains("process") {
            required.insert(NODE.to_owned());
        }
        required.remove(package);
        Ok(required)
    }
}

/// Has a package ask the texts of its folders for the files there.
fn asking_for(package: &str, folders: &[&str]) -> String {
    let folders = serde_json::json!(folders);
    format!(
        "--banner:js=require=((outer)=>(name)=>{{for(const folder of {folders})\
         if(String(name).startsWith(\"./\"+folder+\"/\"))return outer(\"{package}/\"+folder)(name);return outer(name)}})(require);"
    )
}

/// The names of what lies in a folder, in their order.
fn file_names(folder: &Path) -> std::io::Result<BTreeSet<String>> {
    std::fs::read_dir(folder)?.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
}

/// What matters of esbuild's metafile.
#[derive(Deserialize)]
struct Meta {
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
struct Output {
    imports: Vec<Import>,
}

#[derive(Deserialize)]
struct Import {
    path: String,
    #[serde(default)]
    external: bool,
}
