// The calls of the segment service, as segctl makes them.
#pragma once

#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/connection.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"

namespace segmentd {

class SegmentCalls {
 public:
  explicit SegmentCalls(Connection connection);

  // `place` is that of the segment in its file: "cart.yaml:12".
  ExitStatus complain(const grpc::Status& status, const std::string& place = "") const {
    return connection_.complain(status, place);
  }

  template <typename Request, typename Response>
  grpc::Status call(grpc::Status (segments::v1::SegmentService::Stub::*method)(grpc::ClientContext*,
                                                                               const Request&,
                                                                               Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    connection_.prepare(context);
    return (stub_.get()->*method)(&context, request, response);
  }

  grpc::Status get(const std::string& id, segments::v1::Segment* segment);
  grpc::Status create(const segments::v1::Segment& segment, segments::v1::Segment* stored);
  grpc::Status clone(const segments::v1::CloneSegmentRequest& request,
                     segments::v1::Segment* stored);
  grpc::Status update(const segments::v1::Segment& segment, segments::v1::Segment* stored);

  // Each response as it comes; the server bounds the time.
  template <typename Show>
  grpc::Status estimate(const segments::v1::EstimateSegmentRequest& request, Show show) {
    grpc::ClientContext context;
    connection_.prepare(context, /*bounded=*/false);
    const auto reader = stub_->EstimateSegment(&context, request);
    segments::v1::EstimateSegmentResponse response;
    while (reader->Read(&response)) show(response);
    return reader->Finish();
  }

  // All pages, up to `limit` segments (0: all).
  grpc::Status list(segments::v1::ListSegmentsRequest request, int64_t limit,
                    std::vector<segments::v1::Segment>* segments, int32_t* total);

  // Those that are not being deleted.
  grpc::Status count(int32_t* total);

 private:
  // Too many segments don't pass by themselves as too many calls do: what would be one more is
  // refused, which the details say.
  static grpc::Status Refusal(const grpc::Status& status);

  Connection connection_;
  std::unique_ptr<segments::v1::SegmentService::Stub> stub_;
};

}  // namespace segmentd
