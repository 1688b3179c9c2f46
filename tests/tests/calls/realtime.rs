//! `lockstep test --realtime`: the tests of a project against a running engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_tests::engine::binary;

const MENU: &str = "// @lockstep class5_destination=1000
export async function main(data, ctx) {
  await ctx.answer();
  const { value } = await ctx.ivr('tone:440,300/0', 5, 1, 1);
  ctx.log(`keyed ${value}`);
  if (value === '2') await ctx.bridge('1001');
  await ctx.play('tone:600,400/0');
}
";

const TESTS: &str = "import { test, expect, phone, time, kv } from 'lockstep:test';

async function menu() {
  const call = await phone.dial('1000', { from: '441' });
  await call.answered();
  await call.hears({ tone: 440 });
  return call;
}

test('a key is heard and answered', async () => {
  const call = await menu();
  await call.press('1');
  await call.hears({ tone: 600 });
  expect((await call.ended()).by).toBe('remote');
  expect(await call.logs()).toEqual(['keyed 1']);
});

test('two phones are joined', async () => {
  const agent = phone.register('1001');
  await agent.registered();
  const call = await menu();
  await call.press('2');
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.hangup();
  await ringing.ended();
});

test('stores are empty', async () => {
  expect(await kv.get('a')).toBe(null);
  await kv.set('a', '1');
  expect(await kv.get('a')).toBe('1');
});

test('a call may be left up', async () => {
  await menu();
});

test('an hour passes', async () => {
  await time.advance(3_600_000);
});

test('what is wrong fails', async () => {
  const call = await menu();
  await call.press('7');
  expect(await call.ended()).toEqual({});
});
";

/// A project in a folder of its own, which goes away with it.
struct Project(PathBuf);

impl Project {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("lockstep-realtime-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| std::fs::write(path, text)).unwrap();
        };
        write("lockstep.toml", "[[user]]\nname = \"1001\"\npassword = \"secret\"\n");
        write("scripts/menu.js", MENU);
        write("tests/menu.test.js", TESTS);
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // It is of no use to anybody, but in nobody's way either.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tests_of_a_project_run_against_a_running_engine() {
    let project = Project::new();
    let output = Command::new(binary()).arg("test").arg(project.path()).arg("--realtime").output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = report.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).collect();
    let verdicts: Vec<&str> = lines.iter().map(|line| line.split(" - ").next().unwrap_or_default()).collect();
    assert_eq!(verdicts, ["ok 1", "ok 2", "ok 3", "ok 4", "ok 5", "not ok 6"], "{report}");
    assert!(lines[4].ends_with("# SKIP advance: the time of a running engine cannot be set"), "{report}");
    assert!(!output.status.success());
    // What a failure tells comes from the engine.
    assert!(report.contains("script ivr("), "{report}");
    assert!(report.contains("keyed 7"), "{report}");
}
