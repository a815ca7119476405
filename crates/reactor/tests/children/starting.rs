//! What a process is started with, and why it is not.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use ropewalk_core::{ChildDescriptor, Grouping, ProcessProtocol, Spawn, SpawnError};
use ropewalk_reactor::Reactor;

use crate::rig::{alone, nothing_to_say, open_descriptors, opened_since, output, run, sh};

fn text(spawn: &Spawn) -> String {
    String::from_utf8(output(spawn).unwrap().stdout).unwrap()
}

#[test]
fn the_environment_is_inherited_set_or_cleared() {
    let _alone = alone();
    let show = || Spawn::new("/usr/bin/env");
    assert!(text(&show()).contains("PATH="));
    assert!(text(&show().env("ROPE", "three strands")).contains("ROPE=three strands\n"));
    let without = text(&show().env_remove("PATH"));
    assert!(!without.lines().any(|line| line.starts_with("PATH=")));
    assert_eq!(text(&show().env_clear().env("A", "b")), "A=b\n");
}

#[test]
fn it_runs_where_it_is_told_to_with_the_name_that_it_is_given() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let spawn = Spawn::new("pwd").directory(&real);
    assert_eq!(text(&spawn), format!("{}\n", real.display()));
    let spawn = Spawn::new("/bin/sh").args(["-c", "echo $0"]).arg0("strand");
    assert_eq!(text(&spawn), "strand\n");
}

#[test]
fn arguments_of_a_shell_command_are_not_read_by_the_shell() {
    let _alone = alone();
    let spawn = Spawn::shell("echo \"$1\"").arg("a; echo b $(c)");
    assert_eq!(text(&spawn), "a; echo b $(c)\n");
}

struct Silent;
impl ProcessProtocol for Silent {}

fn refused(spawn: &Spawn) -> SpawnError {
    let reactor = Reactor::new().unwrap();
    let before = open_descriptors();
    let error = reactor.spawn_process(spawn, Silent).unwrap_err();
    assert_eq!(opened_since(&before), Vec::<String>::new(), "{error}");
    assert_eq!(crate::rig::children(), Vec::<String>::new(), "{error}");
    assert_eq!(reactor.connections(), 0);
    error
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_call() {
    let _alone = alone();
    let error = refused(&Spawn::new("no-such-strand").env("PATH", "/bin:/usr/bin"));
    assert_eq!(
        error.to_string(),
        "cannot run no-such-strand: it is in no directory of PATH (/bin:/usr/bin); install it, or \
         give the path to it"
    );
    assert!(error.source().is_some());
    let error = refused(&Spawn::new("/no/such/strand"));
    assert!(
        error.to_string().contains("there is no such file"),
        "{error}"
    );
}

#[test]
fn a_directory_that_is_not_there_is_told_from_a_program_that_is_not() {
    let _alone = alone();
    let error = refused(&Spawn::new("true").directory("/no/such/place"));
    assert!(matches!(error, SpawnError::Directory { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}

#[test]
fn what_may_not_be_executed_is_an_error_of_the_call() {
    let _alone = alone();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file()
        .set_permissions(PermissionsExt::from_mode(0o600))
        .unwrap();
    let error = refused(&Spawn::new(file.path()));
    assert!(
        matches!(error, SpawnError::PermissionDenied { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("make it executable"), "{error}");
}

#[test]
fn what_contradicts_itself_is_an_error_of_the_call() {
    let _alone = alone();
    for spawn in [
        Spawn::new("true").arg("a\0b"),
        Spawn::new("true").descriptor(256, ChildDescriptor::PipeIn),
        Spawn::new("true").descriptor(3, ChildDescriptor::Inherit),
    ] {
        let error = refused(&spawn);
        assert!(matches!(error, SpawnError::Invalid { .. }), "{error:?}");
    }
}

#[test]
fn a_failed_exec_is_heard_whatever_descriptors_were_asked_for() {
    let _alone = alone();
    // One of these is the number that the pipe of the report would have.
    let mut spawn = Spawn::new("/no/such/strand");
    for number in 3..60 {
        spawn = spawn.descriptor(number, ChildDescriptor::Null);
    }
    assert!(matches!(refused(&spawn), SpawnError::NotFound { .. }));
}

#[test]
fn descriptors_are_mapped_even_where_they_overlap() {
    let _alone = alone();
    let files: Vec<Arc<File>> = (0..20)
        .map(|number| {
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "{number} ").unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            Arc::new(file)
        })
        .collect();
    let mut spawn = Spawn::shell("for n in $(seq 3 22); do cat <&$n; done");
    spawn = Spawn::new("/bin/bash").args(spawn.arguments);
    // In an order in which each would take the place of another.
    for (number, file) in (3..23).rev().zip(&files) {
        spawn = spawn.descriptor(number, ChildDescriptor::File(Arc::clone(file)));
    }
    let expected: String = (0..20).rev().map(|number| format!("{number} ")).collect();
    assert_eq!(text(&spawn), expected);
}

#[test]
fn extra_pipes_go_both_ways() {
    let _alone = alone();
    let spawn = Spawn::shell("read line <&5; echo \"got $line\" >&9")
        .descriptor(5, ChildDescriptor::PipeIn)
        .descriptor(9, ChildDescriptor::PipeOut)
        .descriptor(0, ChildDescriptor::Null);
    let said = run(&spawn, |event, transport| {
        if event == "made" {
            assert!(transport.write_to_child(5, b"five\n"));
        }
    });
    assert_eq!(said.text(), "got five\n");
    assert!(said.log().contains(&"closed 9".to_owned()));
}

#[test]
fn nothing_else_is_inherited() {
    let _alone = alone();
    // As code of others leaves them: it would reach every program.
    let file = File::open("/dev/null").unwrap();
    let leaking = rustix::io::dup(&file).unwrap();
    assert!(
        !rustix::io::fcntl_getfd(&leaking)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
    let reactor = Reactor::new().unwrap();
    let said = crate::rig::run_on(
        &reactor,
        &Spawn::new("ls").arg("/proc/self/fd"),
        nothing_to_say,
    );
    // 3 is the folder itself.
    assert_eq!(said.text(), "0\n1\n2\n3\n");
    let spawn = Spawn::new("ls")
        .arg("/proc/self/fd")
        .descriptor(7, ChildDescriptor::PipeIn);
    assert_eq!(run(&spawn, nothing_to_say).text(), "0\n1\n2\n3\n7\n");
    // It is still as it was here.
    assert!(
        !rustix::io::fcntl_getfd(&leaking)
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
}

#[test]
fn a_file_may_be_its_output() {
    let _alone = alone();
    let mut file = tempfile::tempfile().unwrap();
    let spawn = Spawn::new("echo").arg("to a file").descriptor(
        1,
        ChildDescriptor::File(Arc::new(file.try_clone().unwrap())),
    );
    let said = run(&spawn, nothing_to_say);
    assert_eq!(said.text(), "");
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut written = String::new();
    file.read_to_string(&mut written).unwrap();
    assert_eq!(written, "to a file\n");
}

#[test]
fn it_has_a_group_or_a_session_of_its_own_when_it_is_asked_for() {
    let _alone = alone();
    let ids = Spawn::shell("echo $$ $(ps -o pgid=,sid= -p $$)");
    let read = |spawn: &Spawn| -> Vec<i32> {
        let text = text(spawn);
        text.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    };
    let [pid, group, session] = read(&ids)[..] else {
        panic!()
    };
    assert!(pid != group && pid != session);
    let [pid, group, session] = read(&ids.clone().grouping(Grouping::Group))[..] else {
        panic!()
    };
    assert!(pid == group && pid != session);
    let [pid, group, session] = read(&ids.grouping(Grouping::Session))[..] else {
        panic!()
    };
    assert!(pid == group && pid == session);
}

#[test]
fn root_may_give_it_another_user_and_groups() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may become another user");
        return;
    }
    let id = |spawn: Spawn| text(&spawn);
    let show = || Spawn::shell("id -u; id -g; id -G");
    assert_eq!(id(show().uid(65534).gid(65534)), "65534\n65534\n65534\n");
    let grouped = id(show().uid(65534).gid(65534).groups([65534, 4242]));
    assert_eq!(grouped, "65534\n65534\n65534 4242\n");
    // It cannot become root again.
    let back = id(Spawn::shell("grep -E '^(Uid|Gid)' /proc/self/status")
        .uid(65534)
        .gid(65534));
    assert_eq!(back.matches("65534").count(), 8, "{back}");
}

#[test]
fn one_that_is_not_root_is_told_that_it_may_not() {
    let _alone = alone();
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may");
        return;
    }
    let error = refused(&Spawn::new("true").uid(0));
    assert!(
        matches!(error, SpawnError::PermissionDenied { .. }),
        "{error:?}"
    );
}

/// What the status of a new process says of its signals, but for those that are the C library's own.
fn signals(field: &str) -> u64 {
    let status = sh(&format!("grep ^{field} /proc/self/status"));
    let mask = status.split_whitespace().nth(1).unwrap();
    u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31)
}

#[test]
fn signals_are_as_a_program_expects_them() {
    let _alone = alone();
    assert_eq!(signals("SigBlk"), 0);
    // SIGPIPE is ignored here, and would be by what is started.
    assert_eq!(signals("SigIgn"), 0);
}

#[test]
fn more_descriptors_need_no_higher_limit_than_their_numbers() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(200),
        ..limit
    };
    setrlimit(Resource::Nofile, low).unwrap();
    let spawn = Spawn::shell("echo seven >&7").descriptor(7, ChildDescriptor::PipeOut);
    let said = std::panic::catch_unwind(|| run(&spawn, nothing_to_say).text());
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(said.unwrap(), "seven\n");
}

/// Set in the environment of this program when it is started with SIGCHLD and SIGHUP ignored.
const IGNORING: &str = "ROPEWALK_TEST_IGNORES_SIGNALS";

#[test]
fn what_is_refused_is_told_where_the_ends_of_children_are_ignored() {
    if std::env::var_os(IGNORING).is_some() {
        println!("\nrefused: {}", refused(&Spawn::new("no-such-strand")));
        println!(
            "\nended: {}",
            run(&Spawn::new("true"), nothing_to_say).status()
        );
        println!("\nignored: {:x}", signals("SigIgn"));
        return;
    }
    let _alone = alone();
    let output = std::process::Command::new("env")
        .arg("--ignore-signal=CHLD,HUP")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "starting::what_is_refused_is_told_where_the_ends_of_children_are_ignored",
        ])
        .env(IGNORING, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("\nrefused: cannot run no-such-strand: "),
        "{said}"
    );
    assert!(
        said.contains("\nended: has ended, and nobody knows how"),
        "{said}"
    );
    // It is this process that ignores them, and not its programs.
    assert!(said.contains("\nignored: 0\n"), "{said}");
}
