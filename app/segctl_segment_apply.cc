// segctl segment apply and diff: what the server lacks of files under version control, done or only
// shown.

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "app/definition_files.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "app/segment_text.h"
#include "app/text_diff.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

// What apply would do, segment by segment.
struct Planned {
  const pb::Segment* wanted;
  // Of `wanted` in its file.
  const std::string* place;
  // Null: it does not exist yet.
  const pb::Segment* stored;
  std::string before;
  std::string after;

  // What is stored can't be run: `stored` may be an older version, or nothing but the ID.
  bool mends() const { return stored != nullptr && stored->status() == pb::SEGMENT_STATUS_INVALID; }
  bool deleting() const {
    return stored != nullptr && stored->status() == pb::SEGMENT_STATUS_DELETING;
  }
  bool changes() const { return stored == nullptr || mends() || deleting() || before != after; }
};

// Compares files with the server; complains and leaves `plan` empty where that can't be done.
ExitStatus Plan(SegmentCalls& calls, const Definitions& wanted,
                std::map<std::string, pb::Segment>* stored, std::vector<Planned>* plan) {
  for (size_t i = 0; i < wanted.segments.size(); ++i) {
    if (wanted.segments[i].id().empty()) {
      return Complain(
          kWrongUse,
          absl::StrCat(wanted.places[i], ": \"", wanted.segments[i].name(),
                       "\" has no id; files under version control need one in each segment"));
    }
  }
  std::vector<pb::Segment> all;
  int32_t total = 0;
  const grpc::Status status = calls.list({}, 0, &all, &total);
  if (!status.ok()) return calls.complain(status);
  for (pb::Segment& segment : all) {
    std::string id = segment.id();
    stored->emplace(std::move(id), std::move(segment));
  }
  for (size_t i = 0; i < wanted.segments.size(); ++i) {
    const pb::Segment& segment = wanted.segments[i];
    Planned step{&segment, &wanted.places[i], nullptr, "", Written(segment)};
    if (const auto found = stored->find(segment.id()); found != stored->end()) {
      step.stored = &found->second;
      step.before = Written(found->second);
    }
    plan->push_back(std::move(step));
  }
  return kDone;
}

void PrintDiff(const Planned& step) {
  Print(Paint(absl::StrCat(step.stored == nullptr ? "new segment " : "segment ", step.wanted->id()),
              Color::kBold, stdout) +
        "\n");
  if (step.deleting()) {
    Print(Paint(AsComment("is being deleted; applying the file is refused until it is gone"),
                Color::kRed, stdout));
  }
  if (step.mends()) {
    Print(Paint(AsComment(absl::StrCat("invalid as stored: ", step.stored->status_detail())),
                Color::kRed, stdout));
  }
  for (const DiffLine& line : DiffLines(step.before, step.after)) {
    Print(Paint(std::string(1, line.kind) + line.text,
                line.kind == '+'   ? Color::kGreen
                : line.kind == '-' ? Color::kRed
                                   : Color::kNone,
                stdout) +
          "\n");
  }
}

}  // namespace

ExitStatus ApplySegments(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(
      global, options.files, [&](SegmentCalls& calls, const Definitions& wanted) {
        std::map<std::string, pb::Segment> known;
        std::vector<Planned> plan;
        const ExitStatus planned = Plan(calls, wanted, &known, &plan);
        if (planned != kDone) return planned;
        ExitStatus exit = kDone;
        for (const Planned& step : plan) {
          if (!step.changes()) {
            PrintDone(global, "unchanged", *step.stored);
            continue;
          }
          pb::Segment result;
          grpc::Status status;
          if (step.stored == nullptr) {
            status = calls.create(*step.wanted, &result);
          } else {
            pb::Segment segment = *step.wanted;
            segment.set_etag(step.stored->etag());
            status = calls.update(segment, &result);
          }
          if (!status.ok()) return calls.complain(status, *step.place);
          PrintDone(global, step.stored == nullptr ? "created" : "updated", result);
          if (result.status() == pb::SEGMENT_STATUS_INVALID) {
            exit = Complain(kNo, absl::StrCat(*step.place, ": ", result.id(),
                                              " can't be run: ", result.status_detail()));
          }
        }
        return exit;
      });
}

ExitStatus DiffSegments(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(
      global, options.files, [&](SegmentCalls& calls, const Definitions& wanted) {
        std::map<std::string, pb::Segment> known;
        std::vector<Planned> plan;
        const ExitStatus planned = Plan(calls, wanted, &known, &plan);
        if (planned != kDone) return planned;
        ExitStatus answer = kDone;
        for (const Planned& step : plan) {
          if (!step.changes()) continue;
          answer = kNo;
          if (global.json) {
            JsonObject object;
            object.text("id", step.wanted->id());
            if (step.mends()) object.boolean("invalid_as_stored", true);
            if (step.stored != nullptr) object.raw("stored", SegmentToJson(*step.stored));
            Print(object.raw("wanted", SegmentToJson(*step.wanted)).str() + "\n");
          } else {
            PrintDiff(step);
          }
        }
        return answer;
      });
}

}  // namespace segmentd
