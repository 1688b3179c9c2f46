//! What an editor says of scripts in a project of `lockstep init`: the TypeScript compiler reads them with the types it lays out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_tests::engine::binary;
use serde_json::{Value, json};

/// A project with the sample scripts, their tests, and scripts that use what there is.
struct Project(PathBuf);

impl Project {
    fn laid_out(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lockstep-editor-{name}-{}", std::process::id()));
        let output = Command::new(binary()).arg("init").arg(&folder).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (from, to) in [("tests/editor", "scripts"), ("../scripts", "scripts"), ("../scripts/tests", "scripts/tests")] {
            for entry in fs::read_dir(here.join(from)).expect("the folder is there") {
                let path = entry.expect("it can be read").path();
                if path.extension().is_some_and(|extension| extension == "js" || extension == "ts") {
                    let to = folder.join(to).join(path.file_name().expect("a file has a name"));
                    fs::copy(&path, to).expect("it can be copied");
                }
            }
        }
        Self(folder)
    }

    /// Adds `@types/node`, as whoever wants types for Node's modules does.
    fn with_types_of_node(self) -> Self {
        let path = self.0.join("jsconfig.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("it is laid out")).expect("JSON");
        config["compilerOptions"]["types"] = json!(["node"]);
        config["compilerOptions"]["typeRoots"] = json!([modules().join("@types")]);
        fs::write(path, config.to_string()).expect("it can be written");
        self
    }

    /// What the compiler finds.
    fn findings(&self) -> String {
        let compiler = modules().join("typescript/bin/tsc");
        assert!(compiler.is_file(), "no {}: `make clients` installs it", compiler.display());
        let output = Command::new("node").arg(compiler).arg("-p").arg("jsconfig.json").current_dir(&self.0).output();
        String::from_utf8(output.expect("node runs").stdout).expect("text")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // What is left over lies among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/node_modules")
}

#[test]
fn scripts_are_free_of_findings() {
    assert_eq!(Project::laid_out("alone").findings(), "");
    assert_eq!(Project::laid_out("node").with_types_of_node().findings(), "", "with the types of Node");
}

#[test]
fn mistakes_are_found() {
    let project = Project::laid_out("wrong");
    let source = "import { greeting } from 'sibling';\n/** @param {CallData} data @param {Ctx} ctx */\n\
                  export async function main(data, ctx) {\n  await ctx.ply(greeting('en'));\n  greeting(5);\n  require('cxKV').kv.put('a');\n  await fetch();\n}\n";
    fs::write(project.0.join("scripts/wrong.js"), source).expect("it can be written");
    let findings = project.findings();
    let places: Vec<_> = findings.lines().filter_map(|line| line.split_once(": error").map(|(place, _)| place)).collect();
    let expected = ["scripts/wrong.js(4,13)", "scripts/wrong.js(5,12)", "scripts/wrong.js(6,22)", "scripts/wrong.js(7,9)"];
    assert_eq!(places, expected, "{findings}");
}
