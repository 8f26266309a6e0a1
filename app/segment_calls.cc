#include "app/segment_calls.h"

#include <algorithm>
#include <utility>

namespace segmentd {
namespace {

namespace pb = segments::v1;

// Of one list call; the server's limit.
constexpr int kPageSize = 500;

}  // namespace

SegmentCalls::SegmentCalls(Connection connection)
    : connection_(std::move(connection)),
      stub_(pb::SegmentService::NewStub(connection_.channel())) {}

grpc::Status SegmentCalls::get(const std::string& id, pb::Segment* segment) {
  pb::GetSegmentRequest request;
  request.set_id(id);
  return call(&pb::SegmentService::Stub::GetSegment, request, segment);
}

grpc::Status SegmentCalls::create(const pb::Segment& segment, pb::Segment* stored) {
  pb::CreateSegmentRequest request;
  *request.mutable_segment() = segment;
  return Refusal(call(&pb::SegmentService::Stub::CreateSegment, request, stored));
}

grpc::Status SegmentCalls::clone(const pb::CloneSegmentRequest& request, pb::Segment* stored) {
  return Refusal(call(&pb::SegmentService::Stub::CloneSegment, request, stored));
}

grpc::Status SegmentCalls::update(const pb::Segment& segment, pb::Segment* stored) {
  pb::UpdateSegmentRequest request;
  *request.mutable_segment() = segment;
  return call(&pb::SegmentService::Stub::UpdateSegment, request, stored);
}

grpc::Status SegmentCalls::list(pb::ListSegmentsRequest request, int64_t limit,
                                std::vector<pb::Segment>* segments, int32_t* total) {
  do {
    const int64_t wanted = limit == 0 ? kPageSize : limit - static_cast<int64_t>(segments->size());
    request.set_page_size(static_cast<int32_t>(std::min<int64_t>(wanted, kPageSize)));
    pb::ListSegmentsResponse response;
    grpc::Status status = call(&pb::SegmentService::Stub::ListSegments, request, &response);
    if (!status.ok()) return status;
    *total = response.total_size();
    for (pb::Segment& segment : *response.mutable_segments()) {
      segments->push_back(std::move(segment));
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() &&
           (limit == 0 || static_cast<int64_t>(segments->size()) < limit));
  return grpc::Status::OK;
}

grpc::Status SegmentCalls::count(int32_t* total) {
  pb::ListSegmentsRequest request;
  for (int i = 0; i < pb::SegmentStatus_descriptor()->value_count(); ++i) {
    const auto status =
        static_cast<pb::SegmentStatus>(pb::SegmentStatus_descriptor()->value(i)->number());
    if (status == pb::SEGMENT_STATUS_UNSPECIFIED || status == pb::SEGMENT_STATUS_DELETING) {
      continue;
    }
    request.add_statuses(status);
  }
  std::vector<pb::Segment> one;
  return list(std::move(request), 1, &one, total);
}

grpc::Status SegmentCalls::Refusal(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
                 !status.error_details().empty()
             ? grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, status.error_message())
             : status;
}

}  // namespace segmentd
