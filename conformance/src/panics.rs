//! Assertions within callbacks. A loop goes on when a callback panics, as it has promised; so that
//! what a body asserts there counts, the panics of its thread are noted.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static NOTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes the panics of this thread from now on, beside what the program does about them; but not
/// those on purpose, by [`boom`](crate::script::boom), of which no hook is told.
pub(crate) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // The thread may be ending.
            let _ = NOTED.try_with(|noted| noted.borrow_mut().push(panic.to_string()));
            before(panic);
        }));
    });
    drop(noted());
}

/// Takes what was noted.
pub(crate) fn noted() -> Vec<String> {
    NOTED.take()
}
