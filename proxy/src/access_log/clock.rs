//! Times as log lines write them; the texts of a second are made once per thread.

use std::cell::RefCell;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The texts of one second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Second {
    /// Seconds since 1970.
    since_epoch: i64,
    /// `21/Nov/2026:08:28:21 +0000` (`$time_local`).
    pub(super) local: String,
    /// `2026-11-21T08:28:21+00:00` (`$time_iso8601`).
    pub(super) iso8601: String,
}

thread_local! {
    static LAST: RefCell<(TimeZone, Second)> = {
        let zone = TimeZone::system();
        let second = Second::new(0, &zone);
        RefCell::new((zone, second))
    };
}

/// Calls `f` with the texts of the second that `now` is in, in the system's time zone.
pub(super) fn with_second<R>(now: SystemTime, f: impl FnOnce(&Second) -> R) -> R {
    let now = Timestamp::try_from(now).map_or(0, Timestamp::as_second);
    LAST.with_borrow_mut(|(zone, second)| {
        if second.since_epoch != now {
            *second = Second::new(now, zone);
        }
        f(second)
    })
}

impl Second {
    fn new(since_epoch: i64, zone: &TimeZone) -> Self {
        let time = Timestamp::from_second(since_epoch).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone());
        Self {
            since_epoch,
            local: time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
            iso8601: time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_zone() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let second = Second::new(1_700_000_000, &east);
        assert_eq!(second.local, "15/Nov/2023:00:13:20 +0200");
        assert_eq!(second.iso8601, "2023-11-15T00:13:20+02:00");
        assert_eq!(Second::new(1_700_000_000, &TimeZone::UTC).iso8601, "2023-11-14T22:13:20+00:00");
    }
}
