// segctl segment export: stored segments as files that apply takes.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "api/references.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "app/segment_text.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

}  // namespace

ExitStatus ExportSegments(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    std::vector<pb::Segment> segments;
    if (options.ids.empty()) {
      int32_t total = 0;
      const grpc::Status status = calls.list({}, 0, &segments, &total);
      if (!status.ok()) return calls.complain(status);
    }
    for (const std::string& id : options.ids) {
      const grpc::Status status = calls.get(id, &segments.emplace_back());
      if (!status.ok()) return calls.complain(status);
    }
    if (segments.empty()) return Complain(kNo, "no segment found");
    // What can't be run can't be applied either.
    ExitStatus exit = kDone;
    std::set<std::string> left_out;
    std::erase_if(segments, [&](const pb::Segment& segment) {
      if (segment.status() == pb::SEGMENT_STATUS_DELETING) {
        Complain(kDone, absl::StrCat(segment.id(), " is being deleted and left out"));
        return true;
      }
      if (segment.status() != pb::SEGMENT_STATUS_INVALID) return false;
      exit = Complain(
          kNo, absl::StrCat(segment.id(), " is invalid and left out: ", segment.status_detail()));
      left_out.insert(segment.id());
      return true;
    });
    for (const pb::Segment& segment : segments) {
      for (const Reference& reference : ReferencesOf(segment)) {
        if (left_out.count(reference.segment_id) == 0) continue;
        Complain(kNo, absl::StrCat(segment.id(), " refers to ", reference.segment_id, " (",
                                   reference.path, "), which is left out: a server without ",
                                   reference.segment_id, " refuses it"));
      }
    }
    if (segments.empty() && exit == kDone) return kNo;
    SortByDependency(&segments, nullptr);
    for (size_t i = 0; i < segments.size(); ++i) {
      if (global.json) {
        Print(SegmentToJson(segments[i]) + "\n");
      } else {
        Print((i > 0 ? "---\n" : "") + Written(segments[i]));
      }
    }
    return exit;
  });
}

}  // namespace segmentd
