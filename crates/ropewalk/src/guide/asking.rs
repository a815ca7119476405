use http::Request;
use ropewalk::testing::{MemoryReactor, success_result_of};
use ropewalk::web::{Body, Router};
use ropewalk::{Deferred, Failure};

/// What `router` answers: the status and the text.
fn ask(router: &Router, request: Request<Body>) -> (u16, String) {
    let reactor = MemoryReactor::new();
    let answering = router.answer(request);
    let answer = Deferred::<(u16, String)>::from_future(&*reactor, async move {
        let response = answering.await.map_err(Failure::new)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(Failure::new)?;
        Ok::<_, Failure>((status, String::from_utf8_lossy(&body).into_owned()))
    });
    reactor.run();
    success_result_of(answer)
}
