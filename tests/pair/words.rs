//! What other programs say is read as it is meant.

use std::collections::BTreeMap;

use super::figures::{iperf, proc, strace, wrk};

const WRK: &str = "\
Running 3s test @ http://10.99.0.2:8080/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.61ms  350.11us   9.48ms   99.10%
    Req/Sec    39.69k     1.10k   41.12k    73.33%
  Latency Distribution
     50%  635.00us
     75%    1.70ms
     90%    1.82ms
     99%    1.20s 
  118488 requests in 3.00s, 146.90MB read
Requests/sec:  39488.97
Transfer/sec:     48.96MB
";

#[test]
fn a_report_is_read() {
    let report = wrk::Report {
        requests: 118_488,
        per_second: 39_488.97,
        p50_us: 635.0,
        p99_us: 1_200_000.0,
        errors: 0,
    };
    assert_eq!(wrk::parse(WRK), Some(report));
}

#[test]
fn errors_of_every_kind_are_counted() {
    let text = format!(
        "{WRK}  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 10\n"
    );
    assert_eq!(wrk::parse(&text).unwrap().errors, 16);
}

#[test]
fn what_is_no_report_is_none() {
    assert_eq!(wrk::parse("unable to connect to 10.99.0.2:8080"), None);
    assert_eq!(wrk::parse(&WRK.replace("635.00us", "nan")), None);
}

#[test]
fn what_arrived_is_read() {
    let text = r#"{"end":{"sum_sent":{"bytes":9},"sum_received":{"bytes":2500000000,"bits_per_second":6.5e9}}}"#;
    let report = iperf::Report {
        gigabytes: 2.5,
        gigabits_per_second: 6.5,
    };
    assert_eq!(iperf::parse(text), Ok(report));
}

#[test]
fn an_error_is_said() {
    let text = r#"{"end":{},"error":"unable to connect to server: Connection refused"}"#;
    assert_eq!(
        iperf::parse(text).unwrap_err(),
        "unable to connect to server: Connection refused"
    );
    assert_eq!(
        iperf::parse(r#"{"end":{"sum_received":{"bytes":0,"bits_per_second":0}}}"#).unwrap_err(),
        "nothing was received"
    );
}

#[test]
fn calls_are_read_with_and_without_errors() {
    let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.12    0.012345           2      6001        12 recvfrom
 31.37    0.006000           2      3000           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.018345           2      9001        12 total
";
    let calls = [
        ("epoll_wait".to_owned(), 3000),
        ("recvfrom".to_owned(), 6001),
    ];
    assert_eq!(strace::parse(summary), BTreeMap::from(calls));
}

#[test]
fn a_process_that_made_none_has_none() {
    assert_eq!(strace::parse(""), BTreeMap::new());
}

#[test]
fn the_cpu_time_of_a_process_with_an_odd_name_is_read() {
    let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 2 0 900 1 1";
    assert_eq!(proc::cpu_seconds(stat), Some(2.0));
    assert_eq!(proc::cpu_seconds("77 (cut"), None);
}

#[test]
fn memory_and_tracing_are_read() {
    let status = "Name:\tpalisade\nTracerPid:\t0\nVmHWM:\t   99999 kB\nVmRSS:\t   10000 kB\n";
    assert_eq!(proc::resident_mb(status), Some(10.24));
    assert!(!proc::is_traced(status));
    assert!(proc::is_traced(&status.replace("\t0\n", "\t71\n")));
}

#[test]
fn steal_is_busy_and_waiting_for_a_disk_is_not() {
    let stat = "cpu  100 200 300 9000 9000 10 20 30 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
    let machine = proc::machine(stat).unwrap();
    assert_eq!((machine.busy, machine.steal), (6.6, 0.3));
}

#[test]
fn only_a_listening_socket_listens() {
    let sockets = "  sl  local_address rem_address   st\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
        1: 0100007F:1451 0100007F:1F90 01 00000000:00000000\n";
    assert!(proc::listens(sockets, 8080));
    assert!(!proc::listens(sockets, 5201));
    assert!(!proc::listens(sockets, 80));
}
