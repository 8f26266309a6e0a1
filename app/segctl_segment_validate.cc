// segctl segment validate: what is wrong with files, as far as it can be told here, and what the
// server says of each segment.

#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "api/references.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/settings.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

ExitStatus ReportProblems(const GlobalOptions& global,
                          const std::vector<DefinitionProblem>& problems, size_t segments) {
  for (const DefinitionProblem& problem : problems) {
    Print(global.json ? JsonObject()
                                .text("place", problem.place)
                                .text("path", problem.path)
                                .text("message", problem.message)
                                .str() +
                            "\n"
                      : absl::StrCat(problem.place, ": ", Paint(problem.path, Color::kBold, stdout),
                                     problem.path.empty() ? "" : ": ", problem.message, "\n"));
  }
  if (!problems.empty()) return kNo;
  if (!global.json) {
    Print(absl::StrCat(Counted(static_cast<int64_t>(segments), "valid segment"), "\n"));
  }
  return kDone;
}

}  // namespace

ExitStatus ValidateSegments(const GlobalOptions& global, const SegmentOptions& options) {
  absl::StatusOr<Definitions> definitions = ReadDefinitions(options.files);
  if (!definitions.ok()) return Complain(definitions.status());
  std::vector<DefinitionProblem> problems = std::move(definitions->problems);
  const std::vector<pb::Segment>& segments = definitions->segments;
  if (options.local || !problems.empty()) return ReportProblems(global, problems, segments.size());
  return WithServer(global, [&](SegmentCalls& calls) {
    std::set<std::string> stored_ids;
    // Those that are not stored yet: others may refer to them.
    std::set<std::string> coming;
    for (const pb::Segment& segment : segments) {
      pb::Segment stored;
      if (segment.id().empty()) continue;
      if (!calls.get(segment.id(), &stored).ok()) {
        coming.insert(segment.id());
      } else if (stored.status() != pb::SEGMENT_STATUS_DELETING) {
        stored_ids.insert(segment.id());
      }
    }
    for (size_t i = 0; i < segments.size(); ++i) {
      const pb::Segment& segment = segments[i];
      pb::ValidateSegmentRequest request;
      *request.mutable_segment() = segment;
      pb::ValidateSegmentResponse response;
      const grpc::Status status =
          calls.call(&pb::SegmentService::Stub::ValidateSegment, request, &response);
      if (!status.ok()) return calls.complain(status, definitions->places[i]);
      std::set<std::string> expected;
      // One that is stored already is refused for its ID.
      if (stored_ids.count(segment.id()) != 0) expected.insert("id");
      for (const Reference& reference : ReferencesOf(segment)) {
        if (coming.count(reference.segment_id) != 0) expected.insert(reference.path);
      }
      for (const pb::Violation& violation : response.violations()) {
        if (expected.count(violation.path()) != 0) continue;
        problems.push_back({definitions->places[i], violation.path(), violation.message()});
      }
    }
    // The server looks at one at a time: whether all of them have room it does not tell.
    int32_t kept = 0;
    if (const grpc::Status status = calls.count(&kept); !status.ok()) return calls.complain(status);
    std::vector<size_t> added;
    for (size_t i = 0; i < segments.size(); ++i) {
      if (stored_ids.count(segments[i].id()) == 0) added.push_back(i);
    }
    const size_t room = kept < kMaxSegments ? static_cast<size_t>(kMaxSegments - kept) : 0;
    if (room > 0 && added.size() > room) {
      problems.push_back({definitions->places[added[room]], "",
                          absl::StrCat("is one segment too many: the server has ", kept, ", ",
                                       added.size(), " of those given are new to it, and at most ",
                                       kMaxSegments, " are allowed; delete some first")});
    }
    return ReportProblems(global, problems, segments.size());
  });
}

}  // namespace segmentd
