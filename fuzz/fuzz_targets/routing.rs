//! What a client asks for finds its route, or none, and never more than one piece of a path.
#![no_main]

use http::{Request, Uri};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::answer::IntoResponse;
use ropewalk_web::extract::Path;
use ropewalk_web::router::{Router, any};
use ropewalk_web::uploads::ContentRange;
use ropewalk_web::{Body, Resource, Rewrite};

thread_local! {
    static ROUTER: Router = router();
}

fn router() -> Router {
    let leaf = Resource::new().is_leaf(true).render(|| "leaf");
    let tree = Resource::new().put_child("a", leaf).put_child("b", Resource::new());
    let inner = Router::builder().route("/{x}/{y}", any(|Path((x, y)): Path<(u8, String)>| {
        format!("{x} {y}")
    }));
    Router::builder()
        .route("/", any(|| "root"))
        .route("/one/{name}", any(|Path(name): Path<String>| name))
        .route("/all/{*rest}", any(|Path(rest): Path<String>| {
            // A slash that was none may be in it; a segment that leads upwards must have had one.
            rest
        }))
        .route("/é/{{x}}", any(|| ().into_response()))
        .nest("/tree", tree)
        .nest("/inner", inner.build().expect("good routes"))
        .build()
        .expect("good routes")
        .layer(Rewrite::new().alias("/old", "").tilde_to_users())
}

fuzz_target!(|data: &[u8]| {
    if let Some(range) = ContentRange::parse(data) {
        assert!(range.first <= range.last && range.last < range.total);
    }
    let Ok(uri) = Uri::try_from(data) else { return };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    let answer = ROUTER.with(|router| router.answer(request)).into_ready();
    let answer = answer.ok().expect("at once").expect("no error");
    assert!(matches!(answer.status().as_u16(), 200 | 204 | 400 | 404));
});
