//! Each workload by itself, for an hour of each of a few seeds.

use ropewalk_chaos::{Workload, run};

fn holds(workload: Workload) {
    let (mut asked, mut answered) = (0, 0);
    for seed in 0..4 {
        let report = run(seed, 1, Some(workload));
        if let Some(failure) = report.failure() {
            panic!("{failure}");
        }
        assert!(report.faults > 100, "{report}");
        asked += report.outcome.asked;
        answered += report.outcome.answered;
    }
    let least = match workload {
        Workload::Bulk => 200,
        _ => 1000,
    };
    assert!(asked > least, "{asked}");
    // Most get through, and some do not, or there were no faults: but for those within a host.
    assert!(answered > asked / 3, "{asked} {answered}");
    let none_is_cut = workload == Workload::Unix;
    assert!(answered < asked || none_is_cut, "{asked} {answered}");
}

#[test]
fn http_holds_under_faults() {
    holds(Workload::Http);
}

#[test]
fn lines_hold_under_faults() {
    holds(Workload::Lines);
}

#[test]
fn strings_hold_under_faults() {
    holds(Workload::Strings);
}

#[test]
fn tls_holds_under_faults() {
    holds(Workload::Tls);
}

#[test]
fn a_client_service_holds_under_faults() {
    holds(Workload::Service);
}

#[test]
fn a_forwarder_holds_under_faults() {
    holds(Workload::Forward);
}

#[test]
fn policies_hold_under_faults() {
    holds(Workload::Policies);
}

#[test]
fn datagrams_hold_under_faults() {
    holds(Workload::Datagrams);
}

#[test]
fn unix_sockets_hold_under_faults() {
    holds(Workload::Unix);
}

#[test]
fn names_with_several_addresses_hold_under_faults() {
    holds(Workload::Names);
}

#[test]
fn answers_of_threads_hold_under_faults() {
    holds(Workload::Threads);
}

#[test]
fn bodies_larger_than_all_windows_hold_under_faults() {
    holds(Workload::Bulk);
}

#[test]
fn what_a_store_has_acknowledged_stays() {
    holds(Workload::Store);
}

#[test]
fn websockets_hold_under_faults() {
    holds(Workload::WebSocket);
}

#[test]
fn http2_holds_under_faults() {
    holds(Workload::Http2);
}
