// SPDX-License-Identifier: Apache-2.0
//! `GET /admin/backup`: everything in one archive.

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::header::CONTENT_DISPOSITION;
use bytes::Bytes;
use futures_util::{Stream, stream};
use jobbie_actors::ports::SnapshotFile;

use super::Failures;
use crate::call::{Answer, AtIndex, Call};

/// Bytes read at a time: large enough for the disk, small enough that a slow reader costs no memory.
const PIECE: usize = 256 << 10;

/// Everything in one archive: the state as of the index in `X-Jobbie-Index`, which is not before the call. It is
/// complete if it has the length that is announced; `jobbie restore` reads it.
#[utoipa::path(
    get, path = "/api/v1/admin/backup", operation_id = "getBackup", tag = "operations",
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/octet-stream"),
        Failures,
    ),
)]
pub async fn backup(call: Call) -> Answer {
    let file = call.ports().backup().await?;
    let index = file.mark().applied.map_or(0, |at| at.index);
    let name = format!("attachment; filename=\"jobbie-{index}.backup\"");
    let body = SizedStream::new(file.len(), pieces(file));
    let response = HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, name))
        .body(body);
    Ok(response).at_index(index)
}

/// The file, piece by piece, each read on a thread that may block. An error breaks the connection off, which tells
/// the reader that the archive is not complete.
fn pieces(file: SnapshotFile) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, 0), |(file, offset)| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let read = file.read_at(offset, &mut piece)?;
            piece.truncate(read);
            Ok::<_, std::io::Error>((file, piece))
        });
        let (file, piece) = read.await.map_err(std::io::Error::other)??;
        let next = offset + piece.len() as u64;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), (file, next))))
    })
}
