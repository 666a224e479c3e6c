//! Proves that the load generator reports what a gateway does wrong, and nothing when it does everything right.
//! Guards against a check that always passes.

mod faulty_gateway;

use clap::Parser;
use faulty_gateway::{Fault, FaultyGateway};
use tidegate_bench::load::{self, Options};

/// One conversation of three, two of whom send.
fn result_of(fault: Fault) -> load::result::LoadResult {
    let gateway = FaultyGateway::start(fault);
    let command = format!(
        "load --gateway {} --secret-file {} --senders 2 --conversations 2 --members 3 --users 3 --rate 200 --seconds 0.5 \
         --warmup 0 --patience 2 --threads 2",
        gateway.address(),
        gateway.secret_file().display()
    );
    load::run(&Options::parse_from(command.split_whitespace())).expect("the load runs")
}

#[test]
fn a_right_gateway_has_no_faults() {
    let result = result_of(Fault::None);
    assert!(result.is_correct(), "{}", result.summary());
    assert_eq!((result.sent_total, result.acked, result.delivered), (100, 100, 200));
    assert_eq!((result.ack_ms.count, result.deliver_ms.count), (100, 200));
    assert_eq!(result.gateway_cpu_us_per_delivered, None, "no process id was given");
}

#[test]
fn a_delivery_that_never_comes_is_lost() {
    let result = result_of(Fault::Lose);
    assert_eq!((result.lost, result.duplicates, result.out_of_order, result.wrong), (1, 0, 0, 0));
    assert!(!result.is_correct());
}

#[test]
fn a_delivery_that_comes_twice_is_a_duplicate() {
    let result = result_of(Fault::Repeat);
    assert_eq!((result.lost, result.duplicates, result.out_of_order, result.wrong), (0, 1, 0, 0));
}

#[test]
fn two_deliveries_in_the_wrong_order_are_out_of_order() {
    let result = result_of(Fault::Swap);
    assert_eq!((result.lost, result.duplicates, result.out_of_order, result.wrong), (0, 0, 1, 0));
}

#[test]
fn an_altered_body_is_wrong() {
    let result = result_of(Fault::Alter);
    assert_eq!((result.lost, result.duplicates, result.out_of_order, result.wrong), (0, 0, 0, 1));
}

#[test]
fn a_send_without_an_ack_is_unanswered() {
    let result = result_of(Fault::KeepAck);
    assert_eq!((result.lost, result.unanswered, result.acked_total), (0, 1, 99));
    assert!(!result.is_correct());
}

#[test]
fn a_refusal_is_counted_by_its_code_and_is_no_loss() {
    let result = result_of(Fault::Refuse);
    assert_eq!((result.lost, result.unanswered, result.refused.get(&503)), (0, 0, Some(&1)));
    assert!(result.is_correct(), "{}", result.summary());
}

#[test]
fn a_dropped_session_is_reported() {
    let result = result_of(Fault::Drop);
    assert!(result.disconnects == 1 && !result.is_correct(), "{}", result.summary());
}
