//! The epoll driver keeps every promise of a driver.

mod driver_suite;

every_promise!(driver_suite::rigs::Epoll);

mod cramped {
    use super::driver_suite;

    crate::every_promise!(driver_suite::rigs::CrampedEpoll);
}
