// segctl segment estimate: how many users segments would have, by the past that Kafka holds.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "api/references.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/progress.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

void PrintEstimate(const GlobalOptions& global, const pb::Segment& segment, int64_t members,
                   int64_t users) {
  if (global.json) {
    JsonObject object;
    if (!segment.id().empty()) object.text("segment_id", segment.id());
    Print(object.text("segment_name", segment.name())
              .number("members", members)
              .number("users", users)
              .str() +
          "\n");
    return;
  }
  std::string text =
      absl::StrCat(segment.name(), ": ", Paint(Grouped(members), Color::kBold, stdout), " of ",
                   Counted(users, "user"));
  if (users > 0) {
    absl::StrAppendFormat(&text, " (%.1f %%)",
                          static_cast<double>(members) / static_cast<double>(users) * 100);
  }
  Print(text + "\n");
}

// With what to do about the segments that are in the files and that the server misses.
grpc::Status NotInlined(const grpc::Status& status, const pb::Segment& segment,
                        const std::vector<pb::Segment>& given) {
  if (status.error_code() != grpc::StatusCode::INVALID_ARGUMENT) return status;
  std::set<std::string> ids;
  for (const Reference& reference : ReferencesOf(segment)) {
    const bool missing = absl::StrContains(
        status.error_message(), absl::StrCat("there is no segment \"", reference.segment_id, "\""));
    const bool in_files = std::any_of(given.begin(), given.end(), [&](const pb::Segment& other) {
      return other.id() == reference.segment_id;
    });
    if (missing && in_files) ids.insert(reference.segment_id);
  }
  if (ids.empty()) return status;
  return {status.error_code(),
          absl::StrCat(status.error_message(), "; that ", absl::StrJoin(ids, ", "),
                       " is in the files is not enough: the server counts its members only when it "
                       "is stored. Create it, with shadow: true to write no changes, and estimate "
                       "again")};
}

}  // namespace

ExitStatus EstimateSegments(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(
      global, options.files, [&](SegmentCalls& calls, const Definitions& definitions) {
        std::vector<pb::Segment> segments = definitions.segments;
        // A request holds one segment, and the server knows only what is stored.
        InlineReferences(&segments);
        ExitStatus exit = kDone;
        for (size_t i = 0; i < segments.size(); ++i) {
          const pb::Segment& segment = segments[i];
          pb::EstimateSegmentRequest request;
          *request.mutable_segment() = segment;
          Progress progress;
          pb::EstimateSegmentResponse last;
          const grpc::Status status = calls.estimate(request, [&](const auto& response) {
            progress.show(response.progress());
            last = response;
          });
          progress.hide();
          if (status.ok()) {
            PrintEstimate(global, segment, last.members(), last.users());
            fflush(stdout);
            continue;
          }
          exit = calls.complain(NotInlined(status, segment, segments), definitions.places[i]);
          // What is wrong with one says nothing about the others.
          if (status.error_code() != grpc::StatusCode::INVALID_ARGUMENT &&
              status.error_code() != grpc::StatusCode::FAILED_PRECONDITION) {
            return exit;
          }
        }
        return exit;
      });
}

}  // namespace segmentd
