//! What looks for mistakes finds those that were made on purpose.

use ropewalk_chaos::{Mistake, Plan, Workload, run_plan};
use ropewalk_sim::Found;

/// What is found first when the server of lines makes this mistake.
fn found(mistake: Mistake) -> String {
    let found = found_by(Workload::Lines, mistake);
    assert!(found.faults.0.is_empty(), "it needs no fault: {found}");
    found.what
}

fn found_by(workload: Workload, mistake: Mistake) -> Box<Found> {
    let plan = Plan {
        seed: 1,
        hours: 1,
        only: Some(workload),
        mistake: Some(mistake),
    };
    run_plan(&plan).found.expect("it is found")
}

#[test]
fn an_answer_that_overtakes_another_one_is_found() {
    let found = found(Mistake::Reorders);
    assert!(found.contains("the answer to another question"), "{found}");
}

#[test]
fn a_request_that_is_answered_twice_is_found() {
    let found = found(Mistake::AnswersTwice);
    let twice = found.contains("an answer to nothing");
    assert!(twice || found.contains("the answer to another"), "{found}");
}

#[test]
fn a_byte_that_is_lost_is_found() {
    let found = found(Mistake::LosesAByte);
    assert!(found.contains("got not the"), "{found}");
}

#[test]
fn a_byte_that_is_invented_is_found() {
    let found = found(Mistake::Invents);
    assert!(found.contains("got a wrong byte at"), "{found}");
}

#[test]
fn a_request_without_an_answer_is_found() {
    let found = found(Mistake::IsSilent);
    let other = found.contains("the answer to another question");
    assert!(
        other || found.contains("got no answer, though all faults were over"),
        "{found}"
    );
}

#[test]
fn a_protocol_that_outlives_its_connection_is_found() {
    let found = found(Mistake::LeaksTheProtocol);
    assert!(found.contains("protocol that was leaked"), "{found}");
}

#[test]
fn a_timer_that_is_left_behind_is_found() {
    let found = found(Mistake::LeaksATimer);
    assert!(found.contains("next_turn: Some"), "{found}");
}

#[test]
fn a_port_that_is_left_open_is_found() {
    let found = found(Mistake::LeaksAPort);
    assert!(found.contains("at rest, server has"), "{found}");
}

#[test]
fn an_answer_that_a_stop_has_cut_off_is_found() {
    let found = found_by(Workload::Bulk, Mistake::CutsWhenStopped).what;
    assert!(found.contains("got no answer, though"), "{found}");
}

#[test]
fn a_panic_is_found() {
    let found = found(Mistake::Panics);
    assert!(found.contains("an error was logged"), "{found}");
    assert!(found.contains("on purpose"), "{found}");
}
