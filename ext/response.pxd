# cython: language_level=3
"""The headers of an answer, and what hands nghttp2 a response as it asks for it: what there is of its bytes, then its trailers.

What must not go in here: what an answer is, and when it may leave.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from broker._native.guarded cimport Guarded
from broker._native.session cimport MOST_FIELDS, Call, Session, now_ns, take
from fields cimport fields_to_pass
from nghttp2 cimport *


cdef extern from *:
    """
    #define STATIC_NV(name, value) {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, \\
        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}
    static const nghttp2_nv ANSWER_HEADERS[] = {STATIC_NV(":status", "200"), STATIC_NV("content-type", "application/grpc"),
        STATIC_NV("grpc-accept-encoding", "identity, deflate, gzip")};
    static const char UNAVAILABLE_NAME[] = "grpc-status", UNAVAILABLE_VALUE[] = "14";
    """
    const nghttp2_nv *ANSWER_HEADERS
    const char *UNAVAILABLE_NAME
    const char *UNAVAILABLE_VALUE


cdef inline int submit_trailers(nghttp2_session *session, Call *call) noexcept:
    """Those of a handler's answer, or those that the core has sent."""
    cdef nghttp2_nv fields[MOST_FIELDS]
    if call.trailer_count:
        return nghttp2_submit_trailer(session, call.consumer_stream, call.trailers, call.trailer_count)
    return nghttp2_submit_trailer(session, call.consumer_stream, fields, fields_to_pass(fields, call))


cdef inline ssize_t read_response(
    nghttp2_session *session, int32_t stream, uint8_t *into, size_t most, uint32_t *flags, nghttp2_data_source *source, void *owner
) noexcept:
    """Hand nghttp2 what there is of a response, then its trailers."""
    cdef Call *call = <Call *>nghttp2_session_get_stream_user_data(session, stream)
    cdef size_t size
    if call == NULL:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    size = take(&call.response, into, most)
    if size:
        call.moved_ns = now_ns()
        if call.answered:
            (<Guarded>owner).waiting -= size
        if call.core != NULL:
            (<Session>call.core).taken(call, size)
    if call.response.end > call.response.start:
        return <ssize_t>size
    if not call.response_done:
        return <ssize_t>size if size else <ssize_t>NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_EOF
    if call.has_trailers:
        flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
        if submit_trailers(session, call) != 0:
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    return <ssize_t>size
