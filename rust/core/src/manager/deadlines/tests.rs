use super::*;

const fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn config() -> Config {
    let timeout = Some(millis(1000));
    Config {
        ping_interval: timeout,
        ping_timeout: Some(millis(300)),
        idle_timeout: Some(millis(5000)),
        write_timeout: Some(millis(700)),
        close_timeout: millis(100),
        ..Config::default()
    }
}

#[test]
fn the_phases_of_a_thousand_connections_are_spread_out() {
    let (start, interval) = (Instant::now(), millis(20_000));
    let mut counts = [0; 10];
    for id in 5000..6000 {
        let first = Deadlines::new(id, start, Some(interval)).next_ping.unwrap() - start;
        assert!(first < interval);
        let phase = first.checked_sub(interval / 2).unwrap();
        counts[usize::try_from(phase.as_secs()).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (90..110).contains(count)), "{counts:?}");
}

#[test]
fn an_interval_without_end_is_possible() {
    let now = Instant::now();
    let mut deadlines = Deadlines::new(1, now, Some(Duration::MAX));
    assert_eq!(deadlines.next_ping, None);
    deadlines.begin_ping(Duration::MAX, now);
    assert_eq!(deadlines.next_ping, None);
}

#[test]
fn the_nearest_deadline_is_next() {
    let (start, config) = (Instant::now(), config());
    let clock = Clock::new(start);
    let mut deadlines = Deadlines::new(0, start, config.ping_interval);
    let next = |deadlines: &Deadlines| {
        deadlines.next(true, &config, &clock).map(|(at, due)| (at - start, due))
    };
    assert_eq!(next(&deadlines), Some((millis(500), Due::Ping)));
    deadlines.begin_ping(millis(1000), start + millis(500));
    assert_eq!(next(&deadlines), Some((millis(1500), Due::Ping)));
    deadlines.unanswered_since = Some(start + millis(500));
    assert_eq!(next(&deadlines), Some((millis(800), Due::PingTimeout)));
    deadlines.wrote(0, 10, start);
    assert_eq!(next(&deadlines), Some((millis(700), Due::WriteTimeout)));
    deadlines.wrote(1, 9, start + millis(600));
    assert_eq!(next(&deadlines), Some((millis(1300), Due::WriteTimeout)));
    deadlines.wrote(9, 0, start + millis(700));
    assert_eq!(next(&deadlines), Some((millis(1500), Due::Ping)));
    deadlines.next_ping = None;
    deadlines.message(start + millis(800));
    assert_eq!(next(&deadlines), Some((millis(5800), Due::IdleTimeout)));
    deadlines.closing_since = Some(start + millis(900));
    assert_eq!(next(&deadlines), Some((millis(1000), Due::CloseTimeout)));
}

#[test]
fn whoever_is_owed_a_close_has_no_deadline_but_that_of_its_socket() {
    let (start, config) = (Instant::now(), config());
    let mut deadlines = Deadlines::new(0, start, config.ping_interval);
    deadlines.unanswered_since = Some(start);
    assert_eq!(deadlines.next(false, &config, &Clock::new(start)), None);
    deadlines.wrote(0, 10, start);
    let next = deadlines.next(false, &config, &Clock::new(start));
    assert_eq!(next, Some((start + millis(700), Due::WriteTimeout)));
}

#[test]
fn a_pong_measures_from_when_its_ping_went_out() {
    let start = Instant::now();
    let mut deadlines = Deadlines::new(0, start, Some(millis(1000)));
    deadlines.outstanding = Some(([7; 8], start));
    deadlines.unsent_ping = 100;
    deadlines.wrote(99, 5, start + millis(10));
    deadlines.wrote(2, 3, start + millis(20));
    deadlines.wrote(3, 0, start + millis(30));
    let mut clock = Clock::new(start);
    clock.advance(start + millis(60));
    assert_eq!(deadlines.pong(&[8; 8], &clock), None);
    assert_eq!(deadlines.pong(&[7; 7], &clock), None);
    assert_eq!(deadlines.pong(&[7; 8], &clock), Some(millis(40)));
    assert_eq!(deadlines.pong(&[7; 8], &clock), None, "it is answered");
}

#[test]
fn a_pong_that_the_process_was_not_there_to_see_measures_nothing() {
    let start = Instant::now();
    let mut deadlines = Deadlines::new(0, start, Some(millis(1000)));
    deadlines.outstanding = Some(([7; 8], start));
    let mut clock = Clock::new(start);
    clock.plan(start, Some(start + millis(10)));
    clock.advance(start + millis(900));
    assert_eq!(deadlines.pong(&[7; 8], &clock), None);
}

#[test]
fn a_ping_behind_messages_that_were_dropped_measures_nothing() {
    let start = Instant::now();
    let mut deadlines = Deadlines::new(0, start, Some(millis(1000)));
    deadlines.outstanding = Some(([7; 8], start));
    deadlines.output_dropped(1000);
    assert!(deadlines.outstanding.is_some(), "it is out");
    deadlines.unsent_ping = 1000;
    deadlines.output_dropped(0);
    assert!(deadlines.outstanding.is_some());
    deadlines.output_dropped(900);
    assert_eq!((deadlines.unsent_ping, deadlines.outstanding), (100, None));
    deadlines.output_dropped(900);
    assert_eq!(deadlines.unsent_ping, 1, "it is not out");
}

#[test]
fn dropping_output_before_a_ping_lets_it_out_earlier() {
    let start = Instant::now();
    let mut deadlines = Deadlines::new(0, start, Some(millis(1000)));
    deadlines.unsent_ping = 1000;
    deadlines.wrote(0, 10, start);
    assert_eq!(deadlines.unsent_ping, 10);
}
