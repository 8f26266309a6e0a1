// segctl segment: create, list, get, update, delete, clone, validate, apply, diff, export, pause,
// resume, estimate and watch.

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "api/references.h"
#include "app/connection.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/help.h"
#include "app/progress.h"
#include "app/segctl.h"
#include "app/text_diff.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/absl_view.h"
#include "segment/definition_text.h"
#include "segment/settings.h"
#include "segment/time.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

// Of one list call; the server's limit.
constexpr int kPageSize = 500;
// Of watch, between two looks.
constexpr std::chrono::milliseconds kLook(500);

struct SegmentOptions {
  std::vector<std::string> files;
  std::vector<std::string> ids;
  std::string id;
  std::string etag;
  bool force = false;
  bool local = false;
  std::string new_id;
  std::string new_name;
  std::string search;
  std::vector<std::string> types;
  std::vector<std::string> statuses;
  std::string created_by;
  std::string updated_by;
  std::string created_from;
  std::string created_to;
  std::string order_by;
  int64_t limit = 0;
};

std::string Word(std::string_view enum_name, std::string_view prefix) {
  return absl::AsciiStrToLower(
      AbslView(enum_name.starts_with(prefix) ? enum_name.substr(prefix.size()) : enum_name));
}

std::string StatusWord(const pb::Segment& segment) {
  return Word(pb::SegmentStatus_Name(segment.status()), "SEGMENT_STATUS_");
}

// "building 25 %"
std::string StatusText(const pb::Segment& segment) {
  std::string text = StatusWord(segment);
  if (segment.status() == pb::SEGMENT_STATUS_BUILDING) {
    absl::StrAppendFormat(&text, " %.0f %%", std::floor(segment.build_progress() * 100));
  }
  return text;
}

Color StatusColor(const pb::Segment& segment) {
  switch (segment.status()) {
    case pb::SEGMENT_STATUS_ACTIVE:
      return Color::kGreen;
    case pb::SEGMENT_STATUS_INVALID:
    case pb::SEGMENT_STATUS_DELETING:
    case pb::SEGMENT_STATUS_PAUSED:
      return Color::kRed;
    default:
      return Color::kYellow;
  }
}

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

// What people write of it: the same for a stored segment and for the file it came from.
std::string Written(pb::Segment segment) {
  segment.clear_etag();
  return SegmentToYaml(segment);
}

// Each line after a "# ".
std::string AsComment(std::string_view text) {
  return absl::StrCat("# ", absl::StrReplaceAll(AbslView(text), {{"\n", "\n# "}}), "\n");
}

// "created  cart-left  Added to cart …  version 1, active"
void PrintDone(const GlobalOptions& global, std::string_view verb, const pb::Segment& segment) {
  if (global.json) return Print(SegmentToJson(segment) + "\n");
  Print(absl::StrCat(AbslView(verb), " ", Paint(segment.id(), Color::kBold, stdout), "  ",
                     segment.name(), "  (version ", segment.version(), ", ",
                     Paint(StatusText(segment), StatusColor(segment), stdout), ")\n"));
  if (!segment.status_detail().empty()) Print(absl::StrCat("  ", segment.status_detail(), "\n"));
}

class SegmentCalls {
 public:
  explicit SegmentCalls(Connection connection)
      : connection_(std::move(connection)),
        stub_(pb::SegmentService::NewStub(connection_.channel())) {}

  // `place` is that of the segment in its file: "cart.yaml:12".
  ExitStatus complain(const grpc::Status& status, const std::string& place = "") const {
    return connection_.complain(status, place);
  }

  template <typename Request, typename Response>
  grpc::Status call(grpc::Status (pb::SegmentService::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    connection_.prepare(context);
    return (stub_.get()->*method)(&context, request, response);
  }

  grpc::Status get(const std::string& id, pb::Segment* segment) {
    pb::GetSegmentRequest request;
    request.set_id(id);
    return call(&pb::SegmentService::Stub::GetSegment, request, segment);
  }

  grpc::Status create(const pb::Segment& segment, pb::Segment* stored) {
    pb::CreateSegmentRequest request;
    *request.mutable_segment() = segment;
    return Refusal(call(&pb::SegmentService::Stub::CreateSegment, request, stored));
  }

  grpc::Status clone(const pb::CloneSegmentRequest& request, pb::Segment* stored) {
    return Refusal(call(&pb::SegmentService::Stub::CloneSegment, request, stored));
  }

  grpc::Status update(const pb::Segment& segment, pb::Segment* stored) {
    pb::UpdateSegmentRequest request;
    *request.mutable_segment() = segment;
    return call(&pb::SegmentService::Stub::UpdateSegment, request, stored);
  }

  // Each response as it comes; the server bounds the time.
  template <typename Show>
  grpc::Status estimate(const pb::EstimateSegmentRequest& request, Show show) {
    grpc::ClientContext context;
    connection_.prepare(context, /*bounded=*/false);
    const auto reader = stub_->EstimateSegment(&context, request);
    pb::EstimateSegmentResponse response;
    while (reader->Read(&response)) show(response);
    return reader->Finish();
  }

  // All pages, up to `limit` segments (0: all).
  grpc::Status list(pb::ListSegmentsRequest request, int64_t limit,
                    std::vector<pb::Segment>* segments, int32_t* total) {
    do {
      const int64_t wanted =
          limit == 0 ? kPageSize : limit - static_cast<int64_t>(segments->size());
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

  // Those that are not being deleted.
  grpc::Status count(int32_t* total) {
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

 private:
  // Too many segments don't pass by themselves as too many calls do: what would be one more is
  // refused, which the details say.
  static grpc::Status Refusal(const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
                   !status.error_details().empty()
               ? grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, status.error_message())
               : status;
  }

  Connection connection_;
  std::unique_ptr<pb::SegmentService::Stub> stub_;
};

// Reads definitions and connects, or complains.
template <typename Work>
ExitStatus WithDefinitions(const GlobalOptions& global, const std::vector<std::string>& files,
                           Work work) {
  absl::StatusOr<Definitions> definitions = ReadDefinitions(files);
  if (!definitions.ok()) return Complain(definitions.status());
  if (absl::Status problems = ProblemsError(definitions->problems); !problems.ok()) {
    return Complain(problems);
  }
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  SegmentCalls calls(*std::move(connection));
  return work(calls, *definitions);
}

template <typename Work>
ExitStatus WithServer(const GlobalOptions& global, Work work) {
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  SegmentCalls calls(*std::move(connection));
  return work(calls);
}

ExitStatus Create(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(
      global, options.files, [&](SegmentCalls& calls, const Definitions& definitions) {
        for (size_t i = 0; i < definitions.segments.size(); ++i) {
          pb::Segment stored;
          const grpc::Status status = calls.create(definitions.segments[i], &stored);
          if (!status.ok()) return calls.complain(status, definitions.places[i]);
          PrintDone(global, "created", stored);
        }
        return kDone;
      });
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

ExitStatus List(const GlobalOptions& global, const SegmentOptions& options) {
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

ExitStatus Get(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::Segment segment;
    const grpc::Status status = calls.get(options.id, &segment);
    if (!status.ok()) return calls.complain(status);
    if (global.json) {
      Print(SegmentToJson(segment) + "\n");
      return kDone;
    }
    std::string about = absl::StrCat(
        "# ", StatusText(segment), ", version ", segment.version(), "\n# created ",
        segment.has_create_time() ? Moment(segment.create_time()) : "at an unknown time",
        segment.created_by().empty() ? "" : " by ", segment.created_by(), ", updated ",
        segment.has_update_time() ? Moment(segment.update_time()) : "at an unknown time",
        segment.updated_by().empty() ? "" : " by ", segment.updated_by(), "\n");
    if (!segment.status_detail().empty()) about += AsComment(segment.status_detail());
    Print(Paint(about, Color::kDim, stdout));
    Print(Written(segment));
    // With it the file can be edited and given to update.
    std::string etag;
    AppendJsonString(segment.etag(), &etag);
    Print(absl::StrCat("etag: ", etag, "\n"));
    return kDone;
  });
}

ExitStatus Update(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(global, options.files, [&](SegmentCalls& calls, Definitions& definitions) {
    if (!options.etag.empty() && definitions.segments.size() != 1) {
      return Complain(kWrongUse, "--etag goes with a single segment");
    }
    for (size_t i = 0; i < definitions.segments.size(); ++i) {
      pb::Segment& segment = definitions.segments[i];
      const std::string& place = definitions.places[i];
      if (segment.id().empty()) {
        return Complain(kWrongUse, absl::StrCat(place, ": \"", segment.name(),
                                                "\" has no id; update needs one in each segment"));
      }
      if (!options.etag.empty()) segment.set_etag(options.etag);
      if (options.force) {
        pb::Segment stored;
        const grpc::Status status = calls.get(segment.id(), &stored);
        if (!status.ok()) return calls.complain(status, place);
        segment.set_etag(stored.etag());
      }
      if (segment.etag().empty()) {
        return Complain(
            kWrongUse,
            absl::StrCat(place, ": no etag in the file; take the one that `segctl segment get ",
                         segment.id(),
                         "` shows, give --etag, or overwrite whatever is there with --force"));
      }
    }
    for (size_t i = 0; i < definitions.segments.size(); ++i) {
      pb::Segment stored;
      const grpc::Status status = calls.update(definitions.segments[i], &stored);
      if (!status.ok()) return calls.complain(status, definitions.places[i]);
      PrintDone(global, "updated", stored);
    }
    return kDone;
  });
}

ExitStatus Delete(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::DeleteSegmentsRequest request;
    for (const std::string& id : options.ids) request.add_ids(id);
    request.set_etag(options.etag);
    google::protobuf::Empty nothing;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::DeleteSegments, request, &nothing);
    if (!status.ok()) return calls.complain(status);
    for (const std::string& id : options.ids) {
      Print(global.json ? JsonObject().text("deleted", id).str() + "\n"
                        : absl::StrCat("deleted ", id, "\n"));
    }
    return kDone;
  });
}

ExitStatus Clone(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::CloneSegmentRequest request;
    request.set_id(options.id);
    request.set_new_id(options.new_id);
    request.set_new_name(options.new_name);
    pb::Segment stored;
    const grpc::Status status = calls.clone(request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "created", stored);
    return kDone;
  });
}

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

ExitStatus Validate(const GlobalOptions& global, const SegmentOptions& options) {
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

ExitStatus Apply(const GlobalOptions& global, const SegmentOptions& options) {
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

ExitStatus Diff(const GlobalOptions& global, const SegmentOptions& options) {
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

ExitStatus Export(const GlobalOptions& global, const SegmentOptions& options) {
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

ExitStatus Pause(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::PauseSegmentRequest request;
    request.set_id(options.id);
    pb::Segment stored;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::PauseSegment, request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "paused", stored);
    return kDone;
  });
}

ExitStatus Resume(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::ResumeSegmentRequest request;
    request.set_id(options.id);
    pb::Segment stored;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::ResumeSegment, request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "resumed", stored);
    return kDone;
  });
}

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

ExitStatus Estimate(const GlobalOptions& global, const SegmentOptions& options) {
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

// Until it is ACTIVE, or will not be by itself.
ExitStatus WatchStatus(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    const bool bar = !global.json && IsTerminal(stderr) && IsTerminal(stdout);
    Progress progress;
    std::string shown;
    for (;;) {
      pb::Segment segment;
      const grpc::Status status = calls.get(options.id, &segment);
      if (!status.ok()) return calls.complain(status);
      const bool building = segment.status() == pb::SEGMENT_STATUS_BUILDING;
      // Where a bar shows the progress, lines need not.
      std::string now =
          absl::StrCat(segment.version(), " ", bar ? StatusWord(segment) : StatusText(segment),
                       building ? "" : segment.status_detail());
      if (now != shown) {
        progress.hide();
        shown = std::move(now);
        if (global.json) {
          Print(SegmentToJson(segment) + "\n");
        } else {
          Print(absl::StrCat(
              Paint(segment.id(), Color::kBold, stdout), "  version ", segment.version(), ", ",
              Paint(bar ? StatusWord(segment) : StatusText(segment), StatusColor(segment), stdout),
              segment.status_detail().empty() ? "" : ": ", segment.status_detail(), "\n"));
        }
        fflush(stdout);
      }
      if (building) progress.show(segment.build_progress());
      switch (segment.status()) {
        case pb::SEGMENT_STATUS_ACTIVE:
          return kDone;
        case pb::SEGMENT_STATUS_INVALID:
        case pb::SEGMENT_STATUS_DELETING:
        case pb::SEGMENT_STATUS_PAUSED:
          return kNo;
        default:
          break;
      }
      std::this_thread::sleep_for(kLook);
    }
  });
}

}  // namespace

void AddSegmentCommands(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* segment = segctl.add_subcommand("segment", "Create, read, change and delete segments");
  segment->require_subcommand(0, 1);
  segment->footer(
      "Examples:\n  segctl segment validate --local -f cart.yaml\n"
      "  segctl segment create -f cart.yaml\n"
      "  segctl segment apply -f segments.yaml\n\n"
      "`segctl segment COMMAND --help` tells more of each.\n");
  auto options = std::make_shared<SegmentOptions>();
  using Run = ExitStatus (*)(const GlobalOptions&, const SegmentOptions&);
  const auto add = [&](const char* name, const char* description, const char* examples, Run run) {
    CLI::App* added = segment->add_subcommand(name, description);
    added->footer(examples);
    added->callback([options, &global, command, run] {
      *command = [options, &global, run] { return run(global, *options); };
    });
    return added;
  };
  const auto take_files = [&](CLI::App* to) {
    to->add_option(
          "-f,--file", options->files,
          "File of one or more segments (YAML or JSON), - for standard input; may be given again")
        ->type_name("FILE")
        ->required()
        ->allow_extra_args(false);
  };
  const auto take_id = [&](CLI::App* to) {
    to->add_option("id", options->id, "The segment's ID")->required();
  };

  take_files(add("create", "Store new segments, and wait until they run or are being built",
                 "Examples:\n  segctl segment create -f cart.yaml\n"
                 "  segctl segment create -f - <<< '{name: Booked, live: {actions: {any_of: "
                 "[{event: Booked}]}}}'\n",
                 Create));

  CLI::App* list =
      add("list", "Show segments, with filters",
          "Examples:\n  segctl segment list\n"
          "  segctl segment list --type live --status active --sort 'update_time desc'\n"
          "  segctl segment list --search cart --json | jq .id\n",
          List);
  list->add_option("--search", options->search, "Part of the name or of the ID")->type_name("TEXT");
  list->add_option("--type", options->types,
                   "live, past_behavior, api, custom_list; may be given again")
      ->type_name("TYPE")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"live", "past_behavior", "api", "custom_list"}, CLI::ignore_case)
                  .description(""));
  list->add_option("--status", options->statuses,
                   "active, pending, building, paused, invalid, deleting; may be given again")
      ->type_name("STATUS")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"active", "pending", "building", "paused", "invalid", "deleting"},
                            CLI::ignore_case)
                  .description(""));
  list->add_option("--created-by", options->created_by, "By whom it was created")
      ->type_name("NAME");
  list->add_option("--updated-by", options->updated_by, "By whom it was updated last")
      ->type_name("NAME");
  list->add_option("--created-from", options->created_from, "Created at this time or later")
      ->type_name("TIME");
  list->add_option("--created-to", options->created_to, "Created before this time")
      ->type_name("TIME");
  list->add_option("--sort", options->order_by,
                   "id, name, create_time or update_time, with ' desc' for the other direction")
      ->type_name("FIELD");
  list->add_option("--limit", options->limit, "At most so many; 0 for all")
      ->type_name("N")
      ->check(NotNegative)
      ->capture_default_str();

  take_id(add("get", "Show one segment, as a file that can be edited and given to update",
              "Examples:\n  segctl segment get cart-left-behind > cart.yaml\n"
              "  segctl segment get cart-left-behind --json | jq -r .status\n",
              Get));

  CLI::App* update =
      add("update", "Replace the names and definitions of segments",
          "An update is refused when somebody else's came between: the etag tells.\n\n"
          "Examples:\n  segctl segment get cart > cart.yaml && $EDITOR cart.yaml\n"
          "  segctl segment update -f cart.yaml\n"
          "  segctl segment update -f cart.yaml --force\n",
          Update);
  take_files(update);
  CLI::Option* etag = update->add_option("--etag", options->etag, "Instead of the one in the file")
                          ->type_name("ETAG");
  update->add_flag("--force", options->force, "Overwrite whatever is stored now")->excludes(etag);

  CLI::App* remove = add("delete", "Delete segments; every member gets a REMOVE",
                         "Examples:\n  segctl segment delete cart-left-behind\n"
                         "  segctl segment delete a b c       # all or none\n",
                         Delete);
  remove->add_option("id", options->ids, "The segments' IDs, at most 500")->required();
  remove
      ->add_option("--etag", options->etag, "Refuse unless it is the stored one (a single segment)")
      ->type_name("ETAG");

  CLI::App* clone =
      add("clone", "Create a segment with the definition of another",
          "Examples:\n  segctl segment clone cart --id cart-eu --name 'Cart, Europe'\n"
          "  segctl segment clone cart --json | jq -r .id      # the ID that was assigned\n",
          Clone);
  take_id(clone);
  clone->add_option("--id", options->new_id, "ID of the new segment; assigned without it")
      ->type_name("ID");
  clone->add_option("--name", options->new_name, "Its name; 'Copy of ...' without it")
      ->type_name("NAME");

  CLI::App* validate =
      add("validate", "Check definitions without storing them; exit status 1 when one is not valid",
          "Examples:\n  segctl segment validate -f segments.yaml\n"
          "  segctl segment validate --local -f segments.yaml   # needs no server\n",
          Validate);
  take_files(validate);
  validate->add_flag("--local", options->local,
                     "Only what can be told without a server: not whether referred segments exist");

  take_files(add("apply", "Create or update segments so that the server has what the files say",
                 "Every segment needs an id. Others on the server are left alone.\n\n"
                 "Examples:\n  segctl segment apply -f segments.yaml\n"
                 "  segctl segment apply -f carts.yaml -f readers.yaml\n",
                 Apply));
  take_files(
      add("diff", "Show what apply would change; exit status 1 when there is something",
          "Examples:\n  segctl segment diff -f segments.yaml\n"
          "  segctl segment diff -f segments.yaml || segctl segment apply -f segments.yaml\n",
          Diff));
  CLI::App* export_all = add("export", "Write segments as files for apply, all or those named",
                             "Examples:\n  segctl segment export > segments.yaml\n"
                             "  segctl segment export cart power-users\n",
                             Export);
  export_all->add_option("id", options->ids, "The segments' IDs; all without one");

  take_id(add("pause", "Stop evaluating a segment; its members stay as they are",
              "Nothing of it is written until it is resumed.\n\n"
              "Examples:\n  segctl segment pause cart-left-behind\n"
              "  segctl segment list --status paused\n",
              Pause));
  take_id(add("resume", "Evaluate a paused segment again, as after an update",
              "Also after the server paused it for more changes than max_changes_per_minute.\n\n"
              "Examples:\n  segctl segment resume cart-left-behind\n"
              "  segctl segment resume power-users && segctl segment watch power-users\n",
              Resume));
  take_files(add(
      "estimate", "Count the users who would be in past-behaviour segments, without storing any",
      "Reads the events that Kafka still holds, which may take minutes; --timeout does not "
      "end it.\nPast behaviour of the files that others refer to need not be stored.\n\n"
      "Examples:\n  segctl segment estimate -f lapsed.yaml\n"
      "  segctl segment estimate -f lapsed.yaml --json | jq .members\n",
      Estimate));
  take_id(add("watch", "Show a segment's status and progress until it is active",
              "Exit status 1 when it won't be by itself: invalid, paused, deleted.\n\n"
              "Examples:\n  segctl segment watch power-users\n"
              "  segctl segment create -f power.yaml && segctl segment watch power-users\n",
              WatchStatus));
}

}  // namespace segmentd
