// SPDX-License-Identifier: Apache-2.0
//! The page at `/ui/`: plain files that are part of the binary.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderName, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};

use crate::call::{Answer, Call};
use crate::error::Problem;

/// Only files of our own, no inline code, no frames around us, nothing sent elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const ASSETS: &[Asset] = &[
    Asset {
        name: "index.html",
        kind: "text/html; charset=utf-8",
        content: include_bytes!("../dashboard/index.html"),
    },
    Asset {
        name: "app.js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../dashboard/app.js"),
    },
    Asset {
        name: "style.css",
        kind: "text/css; charset=utf-8",
        content: include_bytes!("../dashboard/style.css"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_bytes!("../dashboard/icon.svg") },
];

/// Leads to a path below the base path.
///
/// # Errors
/// None.
pub fn redirect(call: &Call, path: &str) -> Answer {
    let location = format!("{}{path}", call.web.base);
    Ok(HttpResponse::Found().insert_header((LOCATION, location)).finish())
}

/// `/` and `/ui`.
///
/// # Errors
/// None.
pub async fn home(call: Call) -> Answer {
    redirect(&call, "/ui/")
}

/// `/ui/`.
///
/// # Errors
/// None.
pub async fn page(call: Call) -> Answer {
    serve(&call, "index.html")
}

/// `/ui/{file}`.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn file(call: Call) -> Answer {
    let name = call.path("file")?;
    serve(&call, &name)
}

fn serve(call: &Call, name: &str) -> Answer {
    let asset = ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| Problem::not_found("file", "of that name"))?;
    let tag = format!("\"{:016x}\"", fingerprint(asset.content));
    let known =
        call.request.headers().get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    let mut builder = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    secure(&mut builder, POLICY).insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "no-cache"));
    Ok(if known { builder.finish() } else { builder.content_type(asset.kind).body(asset.content) })
}

/// Adds the headers that a page needs.
pub fn secure<'b>(
    builder: &'b mut actix_web::HttpResponseBuilder,
    policy: &'static str,
) -> &'b mut actix_web::HttpResponseBuilder {
    builder
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
}

/// Tells versions of a file apart (FNV-1a, 64 bits).
fn fingerprint(content: &[u8]) -> u64 {
    content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_inline_code_and_asks_nobody_else() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.content).unwrap();
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !outside.contains("http://") && !outside.contains("https://"),
                "{} leads elsewhere",
                asset.name
            );
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                "onclick=",
            ] {
                assert!(!text.contains(forbidden), "{} has {forbidden}", asset.name);
            }
        }
        let page = std::str::from_utf8(ASSETS[0].content).unwrap();
        assert!(
            !page.contains("<style")
                && page.matches("<script").count() == page.matches("<script src=").count()
        );
        assert!(!POLICY.contains("unsafe"));
    }
}
