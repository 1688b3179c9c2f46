//! What a worker process may still do: compute, allocate, and talk over the sockets it has.
//!
//! Each layer is probed by using it. What the kernel lacks is left out and missing from the list that `Ready` carries, so that the
//! engine can say so in its log.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// System calls a running worker needs. Everything else fails with EPERM: a script cannot reach it, and a bug in the runtime gets
/// an error rather than a shell.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Calls that map memory: allowed unless the memory would be executable.
const MAPPING: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];
/// Both take the protection as their third argument.
const PROTECTION_ARGUMENT: u8 = 2;

/// Shuts the calling thread in for good; the names of the layers that hold.
pub(super) fn enter() -> Vec<String> {
    let mut layers = Vec::new();
    match restrict_access() {
        Ok(RulesetStatus::FullyEnforced) => layers.push("landlock".to_owned()),
        Ok(RulesetStatus::PartiallyEnforced) => layers.push("landlock (partial)".to_owned()),
        Ok(RulesetStatus::NotEnforced) | Err(_) => {}
    }
    if let Some(program) = system_call_filter()
        && seccompiler::apply_filter(&program).is_ok()
    {
        layers.push("seccomp".to_owned());
    }
    layers
}

/// No file, no TCP port, no abstract socket and no signal outside the process: every right is handled and none is granted.
fn restrict_access() -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?;
    Ok(ruleset.create()?.restrict_self()?.ruleset)
}

fn system_call_filter() -> Option<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for call in MAPPING {
        let plain = SeccompCondition::new(PROTECTION_ARGUMENT, SeccompCmpArgLen::Dword, executable.clone(), 0).ok()?;
        rules.insert(*call, vec![SeccompRule::new(vec![plain]).ok()?]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    /// Both layers bind the calling thread only, so a thread of its own is a fair stand-in for the process.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test tries what must be refused")]
    fn nothing_outside_can_be_reached_from_within() {
        let outcome = std::thread::spawn(|| {
            let layers = enter();
            let file = std::fs::read("/etc/hostname").is_err() && std::fs::write("/tmp/lockstep-sandbox", b"x").is_err();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_err();
            let memory = vec![1u8; 8 << 20].iter().map(|byte| u64::from(*byte)).sum::<u64>() == 8 << 20;
            (layers, file, socket, memory)
        });
        let (layers, file, socket, memory) = outcome.join().expect("the thread computes on");
        if layers.iter().any(|layer| layer == "seccomp") {
            assert!(file && socket, "refused: files {file}, sockets {socket}");
        }
        assert!(memory);
    }
}
