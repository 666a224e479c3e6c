use std::process::Command;

use super::*;

/// 64 cores, 64 GiB, nothing in the way of a million.
fn roomy() -> Facts {
    Facts {
        kernel: "6.12.4-amd64".into(),
        io_uring: Ok(()),
        io_uring_disabled: Some(0),
        shards: 64,
        open_files: 65536,
        open_files_hard: 65536,
        nr_open: Some(1 << 20),
        file_max: Some(8_000_000),
        files_in_use: Some(2000),
        somaxconn: Some(8192),
        tcp_max_syn_backlog: Some(8192),
        tcp_ehash_entries: Some(524_288),
        local_ports: Some((32768, 60999)),
        memory: Some(64 << 30),
        memory_available: Some(62 << 30),
        conntrack_count: None,
        conntrack_max: None,
    }
}

fn blocking(facts: &Facts, connections: u64) -> Vec<&'static str> {
    let checks = checks(facts, connections).into_iter();
    checks.filter(|check| check.verdict == Verdict::Blocks).map(|check| check.what).collect()
}

fn check(facts: &Facts, connections: u64, what: &str) -> Check {
    checks(facts, connections).into_iter().find(|check| check.what == what).expect("this is looked at")
}

#[test]
fn a_roomy_machine_holds_a_million() {
    for check in checks(&roomy(), 1_000_000) {
        assert_eq!(check.verdict, Verdict::Fine, "{check}");
    }
}

#[test]
fn direct_tables_are_per_shard_and_process_files_are_not() {
    let facts = Facts { open_files: 20_000, ..roomy() };
    assert_eq!(blocking(&facts, 1_000_000), [""; 0]);
    let epoll = Facts { io_uring: Err("not permitted".into()), ..facts.clone() };
    assert_eq!(blocking(&epoll, 1_000_000), ["open files (ulimit -n)"]);
    let few_shards = Facts { shards: 4, open_files_hard: 500_000, ..facts };
    assert_eq!(blocking(&few_shards, 1_000_000), ["open files (ulimit -n)"]);
    assert_eq!(
        check(&few_shards, 1_000_000, "open files (ulimit -n)").mend,
        "tidegate serve --shards 55, or ulimit -n 275000",
        "a quarter and a tenth of it"
    );
}

#[test]
fn the_mend_names_what_this_process_may_do_itself() {
    let facts = Facts { open_files: 1024, open_files_hard: 1024, ..roomy() };
    let check = check(&facts, 1_000_000, "open files (ulimit -n)");
    assert_eq!(check.verdict, Verdict::Blocks);
    assert!(check.mend.starts_with("LimitNOFILE=17187 in"), "1075 shards are too many: {}", check.mend);
}

#[test]
fn more_than_a_table_holds_wants_more_shards() {
    let facts = Facts { shards: 2, open_files: 1 << 21, nr_open: Some(1 << 21), ..roomy() };
    let check = check(&facts, 8_000_000, "open files (ulimit -n)");
    assert_eq!(check.verdict, Verdict::Blocks);
    assert!(check.mend.starts_with("tidegate serve --shards 9, or "), "{}", check.mend);
}

#[test]
fn memory_says_how_many_would_fit() {
    let facts = Facts { memory: Some(4 << 30), memory_available: Some(3 << 30), ..roomy() };
    let check = check(&facts, 1_000_000, "memory");
    assert_eq!(check.verdict, Verdict::Blocks);
    assert!(check.mend.ends_with("about 480206"), "{}", check.mend);
}

#[test]
fn conntrack_blocks_only_where_it_tracks() {
    let idle = Facts { conntrack_count: Some(0), conntrack_max: Some(262_144), ..roomy() };
    assert_eq!(blocking(&idle, 1_000_000), [""; 0]);
    let tracking = Facts { conntrack_count: Some(17), ..idle };
    assert_eq!(blocking(&tracking, 1_000_000), ["nf_conntrack"]);
    assert_eq!(blocking(&tracking, 200_000), [""; 0]);
}

#[test]
fn a_kernel_before_6_1_and_a_forbidden_io_uring_are_named() {
    let facts = Facts {
        kernel: "5.15.0-91-generic".into(),
        io_uring: Err("EPERM".into()),
        io_uring_disabled: Some(2),
        open_files: 2_000_000,
        nr_open: Some(2_000_000),
        ..roomy()
    };
    assert_eq!(check(&facts, 1_000_000, "kernel").verdict, Verdict::Improvable);
    assert_eq!(check(&facts, 1_000_000, "io_uring").mend, "sysctl -w kernel.io_uring_disabled=0");
    assert_eq!(blocking(&facts, 1_000_000), [""; 0]);
    assert_eq!(check(&Facts { kernel: "6.1".into(), ..facts }, 1, "kernel").verdict, Verdict::Fine);
}

/// A machine that was set as the profile says passes: the script and this module compute the same.
#[test]
fn the_profile_of_kernel_tuning_satisfies_the_doctor() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel-tuning/profile.sh");
    for (connections, shards) in [(1000, 1), (100_000, 2), (1_000_000, 16), (9_999_999, 64)] {
        let output =
            Command::new("bash").args([script, &connections.to_string(), &shards.to_string()]).output();
        let output = output.expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("plain text");
        let value = |name: &str| -> u64 {
            let line = text
                .lines()
                .find_map(|line| line.trim_start_matches("# ").strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{name} is not in:\n{text}")).trim().parse().expect("a number")
        };
        let open_files = value("LimitNOFILE");
        let facts = Facts {
            shards,
            open_files,
            open_files_hard: open_files,
            nr_open: Some(value("fs.nr_open")),
            file_max: Some(value("fs.file-max")),
            somaxconn: Some(value("net.core.somaxconn")),
            tcp_max_syn_backlog: Some(value("net.ipv4.tcp_max_syn_backlog")),
            tcp_ehash_entries: Some(value("thash_entries") as i64),
            conntrack_count: Some(1),
            conntrack_max: Some(value("net.netfilter.nf_conntrack_max")),
            ..roomy()
        };
        for check in checks(&facts, connections) {
            assert_eq!(check.verdict, Verdict::Fine, "{connections} on {shards} shards: {check}");
        }
        let needs = Needs::new(connections, shards, true);
        assert_eq!((open_files, value("fs.file-max")), (needs.open_files, needs.file_max));
    }
}
