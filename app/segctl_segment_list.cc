// segctl segment list: the segments that pass the filters, as a table.

#include <google/protobuf/util/time_util.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "app/segment_text.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/absl_view.h"
#include "segment/definition_text.h"
#include "segment/time.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string_view TypeWord(const pb::Segment& segment) {
  switch (segment.definition_case()) {
    case pb::Segment::kLive:
      return "live";
    case pb::Segment::kPastBehavior:
      return "past_behavior";
    case pb::Segment::kApi:
      return "api";
    case pb::Segment::kCustomList:
      return "custom_list";
    case pb::Segment::DEFINITION_NOT_SET:
      break;
  }
  return "";
}

bool ParseMoment(const std::string& text, std::string_view option,
                 google::protobuf::Timestamp* timestamp, ExitStatus* wrong) {
  if (text.empty()) return true;
  Time time;
  if (!ParseTimestamp(text, &time)) {
    *wrong =
        Complain(kWrongUse, absl::StrCat(AbslView(option), ": \"", text,
                                         "\" is no date; write 2026-04-01 or 2026-04-01T09:00"));
    return false;
  }
  *timestamp = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(time.millis());
  return true;
}

}  // namespace

ExitStatus ListSegments(const GlobalOptions& global, const SegmentOptions& options) {
  pb::ListSegmentsRequest request;
  request.set_search(options.search);
  for (const std::string& type : options.types) {
    pb::SegmentType value = pb::SEGMENT_TYPE_UNSPECIFIED;
    pb::SegmentType_Parse(absl::AsciiStrToUpper(type), &value);
    request.add_types(value);
  }
  for (const std::string& status : options.statuses) {
    pb::SegmentStatus value = pb::SEGMENT_STATUS_UNSPECIFIED;
    pb::SegmentStatus_Parse(absl::StrCat("SEGMENT_STATUS_", absl::AsciiStrToUpper(status)), &value);
    request.add_statuses(value);
  }
  request.set_created_by(options.created_by);
  request.set_updated_by(options.updated_by);
  ExitStatus wrong = kDone;
  if (!options.created_from.empty() && !ParseMoment(options.created_from, "--created-from",
                                                    request.mutable_created_from(), &wrong)) {
    return wrong;
  }
  if (!options.created_to.empty() &&
      !ParseMoment(options.created_to, "--created-to", request.mutable_created_to(), &wrong)) {
    return wrong;
  }
  request.set_order_by(options.order_by);
  return WithServer(global, [&](SegmentCalls& calls) {
    std::vector<pb::Segment> segments;
    int32_t total = 0;
    const grpc::Status status = calls.list(request, options.limit, &segments, &total);
    if (!status.ok()) return calls.complain(status);
    if (global.json) {
      for (const pb::Segment& segment : segments) Print(SegmentToJson(segment) + "\n");
    } else {
      Table table({"ID", "NAME", "TYPE", "STATUS", "VERSION", "UPDATED"});
      for (const pb::Segment& segment : segments) {
        table.add({{segment.id(), Color::kBold},
                   {segment.name()},
                   {std::string(TypeWord(segment))},
                   {absl::StrCat(StatusText(segment), segment.shadow() ? ", shadow" : ""),
                    StatusColor(segment)},
                   {absl::StrCat(segment.version())},
                   {segment.has_update_time() ? Moment(segment.update_time()) : "", Color::kDim}});
      }
      if (!table.empty()) table.print(stdout);
      if (total != static_cast<int64_t>(segments.size())) {
        fprintf(stderr, "%s of %s\n", Grouped(static_cast<int64_t>(segments.size())).c_str(),
                Counted(total, "segment").c_str());
      }
    }
    if (segments.empty()) return Complain(kNo, "no segment found");
    return kDone;
  });
}

}  // namespace segmentd
