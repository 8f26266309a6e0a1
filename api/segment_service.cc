#include "api/segment_service.h"

#include <re2/re2.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "api/call.h"
#include "api/digest.h"
#include "api/page_token.h"
#include "api/place.h"
#include "api/references.h"
#include "api/status.h"
#include "api/stored_segments.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/definition_check.h"
#include "segment/settings.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;

constexpr absl::Duration kLongestCall = absl::Seconds(60);
constexpr absl::Duration kLongestEstimate = absl::Minutes(30);
// Between two reports of an estimate.
constexpr absl::Duration kReportInterval = absl::Milliseconds(250);
// Left of a call's time for the answer to get to its client.
constexpr absl::Duration kAnswerMargin = absl::Milliseconds(250);
constexpr size_t kMaxSearchBytes = 800;
constexpr size_t kMaxTokenBytes = 4096;
// How many IDs an error message names.
constexpr size_t kNamedIds = 20;

std::string NameIds(const std::vector<std::string>& ids) {
  const size_t named = std::min(ids.size(), kNamedIds);
  std::string text =
      absl::StrJoin(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(named), ", ");
  if (named < ids.size()) absl::StrAppend(&text, " and ", ids.size() - named, " more");
  return text;
}

absl::Status NoSegment(const std::string& id) {
  return absl::NotFoundError(
      absl::StrCat("there is no segment \"", absl::CHexEscape(id), "\"; ListSegments shows all"));
}

absl::Status IsBeingDeleted(const std::string& id) {
  return absl::FailedPreconditionError(
      absl::StrCat("segment \"", id, "\" is being deleted; give its successor another ID"));
}

// What the log shows of it may be an older version, or nothing but the ID.
bool Invalid(const v1::Segment& segment) {
  return segment.status() == v1::SEGMENT_STATUS_INVALID;
}

absl::Status CannotBeRun(const v1::Segment& segment) {
  return absl::FailedPreconditionError(absl::StrCat(
      "segment \"", segment.id(),
      "\" can't be run as it is stored; update or delete it first: ", segment.status_detail()));
}

absl::Status Missing(std::string_view field, std::string_view what) {
  return ViolationsError({{std::string(field), std::string(what)}});
}

// What the caller writes: the rest is set here.
v1::Segment WrittenPart(const v1::Segment& segment) {
  v1::Segment written;
  written.set_id(segment.id());
  written.set_name(segment.name());
  switch (segment.definition_case()) {
    case v1::Segment::kLive:
      *written.mutable_live() = segment.live();
      break;
    case v1::Segment::kPastBehavior:
      *written.mutable_past_behavior() = segment.past_behavior();
      break;
    case v1::Segment::kApi:
      *written.mutable_api() = segment.api();
      break;
    case v1::Segment::kCustomList:
      *written.mutable_custom_list() = segment.custom_list();
      break;
    case v1::Segment::DEFINITION_NOT_SET:
      break;
  }
  written.set_shadow(segment.shadow());
  written.set_max_changes_per_minute(segment.max_changes_per_minute());
  return written;
}

absl::string_view KindOf(const v1::Segment& segment) {
  switch (segment.definition_case()) {
    case v1::Segment::kLive:
      return "live";
    case v1::Segment::kPastBehavior:
      return "past_behavior";
    case v1::Segment::kApi:
      return "api";
    case v1::Segment::kCustomList:
      return "custom_list";
    case v1::Segment::DEFINITION_NOT_SET:
      break;
  }
  return "none";
}

v1::SegmentType TypeOf(const v1::Segment& segment) {
  switch (segment.definition_case()) {
    case v1::Segment::kLive:
      return v1::LIVE;
    case v1::Segment::kPastBehavior:
      return v1::PAST_BEHAVIOR;
    case v1::Segment::kApi:
      return v1::API;
    case v1::Segment::kCustomList:
      return v1::CUSTOM_LIST;
    case v1::Segment::DEFINITION_NOT_SET:
      break;
  }
  return v1::SEGMENT_TYPE_UNSPECIFIED;
}

// By Pause, or by its guard in some partition of this instance.
bool Stopped(const v1::Segment& segment) {
  return segment.paused() || segment.status() == v1::SEGMENT_STATUS_PAUSED;
}

// Sorts as text as the moments do.
std::string SortKey(const google::protobuf::Timestamp& time) {
  return absl::StrFormat("%020d%09d", std::max<int64_t>(time.seconds(), 0), time.nanos());
}

std::string Fingerprint(const google::protobuf::Message& message) {
  return message.SerializeAsString();
}

// The segment without its etag decides it, so that two writers of one version get two etags.
std::string EtagOf(v1::Segment segment) {
  segment.clear_etag();
  segment.clear_status();
  segment.clear_status_detail();
  segment.clear_build_progress();
  return absl::BytesToHexString(Sha256(Fingerprint(segment)).substr(0, 8));
}

std::string CutToCharacters(std::string_view text, size_t limit) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
    if (starts && ++characters > limit) return std::string(text.substr(0, i));
  }
  return std::string(text);
}

// One writer at a time over reading, checking and writing. A wait ends with its call.
class WriterTurn {
 public:
  class Taken {
   public:
    explicit Taken(WriterTurn* turn) : turn_(turn) {}
    Taken(Taken&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
    Taken& operator=(Taken&&) = delete;
    ~Taken() { Release(); }
    void Release() {
      if (WriterTurn* turn = std::exchange(turn_, nullptr)) turn->GiveBack();
    }

   private:
    WriterTurn* turn_;
  };

  absl::StatusOr<Taken> Take(const Call& call) {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (absl::Status status = call.Check(); !status.ok()) return status;
      const absl::Duration wait = std::min(kCancellationCheck, call.deadline() - call.now());
      if (free_.wait_for(lock, absl::ToChronoMicroseconds(wait), [this] { return !taken_; })) break;
    }
    taken_ = true;
    return Taken(this);
  }

 private:
  void GiveBack() {
    {
      const std::lock_guard lock(mutex_);
      taken_ = false;
    }
    free_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable free_;
  bool taken_ = false;
};

struct Order {
  enum class By { kId, kName, kCreateTime, kUpdateTime };
  By by = By::kId;
  bool descending = false;
};

absl::StatusOr<Order> ParseOrder(absl::string_view text) {
  Order order;
  absl::string_view field = absl::StripAsciiWhitespace(text);
  if (const size_t space = field.find(' '); space != absl::string_view::npos) {
    if (absl::StripLeadingAsciiWhitespace(field.substr(space)) != "desc") field = "?";
    order.descending = true;
    field = field.substr(0, space);
  }
  if (field.empty() || field == "id") {
    order.by = Order::By::kId;
  } else if (field == "name") {
    order.by = Order::By::kName;
  } else if (field == "create_time") {
    order.by = Order::By::kCreateTime;
  } else if (field == "update_time") {
    order.by = Order::By::kUpdateTime;
  } else {
    return Missing(
        "order_by",
        "one of id, name, create_time, update_time is allowed, with \" desc\" after it for "
        "descending order");
  }
  return order;
}

std::string SortKey(const v1::Segment& segment, Order::By by) {
  switch (by) {
    case Order::By::kName:
      return absl::AsciiStrToLower(segment.name());
    case Order::By::kCreateTime:
      return SortKey(segment.create_time());
    case Order::By::kUpdateTime:
      return SortKey(segment.update_time());
    case Order::By::kId:
      break;
  }
  return "";
}

// What a listed segment must meet.
class Filter {
 public:
  explicit Filter(const v1::ListSegmentsRequest& request) : request_(request) {
    if (request.search().empty()) return;
    RE2::Options options;
    options.set_case_sensitive(false);
    options.set_log_errors(false);
    options.set_never_capture(true);
    search_.emplace(RE2::QuoteMeta(request.search()), options);
  }

  bool Holds(const v1::Segment& segment) const {
    const auto any_of = [](const auto& wanted, auto value) {
      return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
    };
    return any_of(request_.types(), TypeOf(segment)) &&
           any_of(request_.statuses(), segment.status()) &&
           (request_.created_by().empty() || request_.created_by() == segment.created_by()) &&
           (request_.updated_by().empty() || request_.updated_by() == segment.updated_by()) &&
           (!request_.has_created_from() ||
            SortKey(segment.create_time()) >= SortKey(request_.created_from())) &&
           (!request_.has_created_to() ||
            SortKey(segment.create_time()) < SortKey(request_.created_to())) &&
           (!search_ || RE2::PartialMatch(segment.name(), *search_) ||
            segment.id().find(request_.search()) != std::string::npos);
  }

 private:
  const v1::ListSegmentsRequest& request_;
  std::optional<RE2> search_;
};

std::vector<Violation> CheckListRequest(const v1::ListSegmentsRequest& request) {
  std::vector<Violation> violations;
  if (request.page_size() < 0) {
    violations.push_back({"page_size", "0 (for 50) to 500 is allowed"});
  }
  if (request.search().size() > kMaxSearchBytes) {
    violations.push_back(
        {"search", absl::StrCat("at most ", kMaxSearchBytes, " bytes are allowed")});
  }
  for (int i = 0; i < request.types_size(); ++i) {
    if (request.types(i) == v1::SEGMENT_TYPE_UNSPECIFIED ||
        !v1::SegmentType_IsValid(request.types(i))) {
      violations.push_back({absl::StrCat("types[", i, "]"),
                            "one of LIVE, PAST_BEHAVIOR, API, CUSTOM_LIST is allowed"});
    }
  }
  for (int i = 0; i < request.statuses_size(); ++i) {
    if (request.statuses(i) == v1::SEGMENT_STATUS_UNSPECIFIED ||
        !v1::SegmentStatus_IsValid(request.statuses(i))) {
      violations.push_back(
          {absl::StrCat("statuses[", i, "]"),
           "one of SEGMENT_STATUS_ACTIVE, _PENDING, _BUILDING, _INVALID, _DELETING, _PAUSED is "
           "allowed"});
    }
  }
  return violations;
}

}  // namespace

class SegmentService::Handlers final : public v1::SegmentService::Service {
 public:
  Handlers(DefinitionLog& definitions, std::function<absl::Time()> clock, const Access& access,
           Estimates* estimates)
      : definitions_(definitions),
        clock_(std::move(clock)),
        access_(access),
        estimates_(estimates) {}

  void EndStreams() { ending_ = true; }

  grpc::Status CreateSegment(grpc::ServerContext* context, const v1::CreateSegmentRequest* request,
                             v1::Segment* response) override {
    return Answer(context, Role::kWrite, response,
                  [&](const Call& call) { return Create(call, WrittenPart(request->segment())); });
  }

  grpc::Status GetSegment(grpc::ServerContext* context, const v1::GetSegmentRequest* request,
                          v1::Segment* response) override {
    return Answer(context, Role::kRead, response, [&](const Call&) -> absl::StatusOr<v1::Segment> {
      if (request->id().empty()) return Missing("id", "is required");
      const StoredSegments stored(definitions_);
      const v1::Segment* segment = stored.FindAny(request->id());
      if (segment == nullptr) return NoSegment(request->id());
      return *segment;
    });
  }

  grpc::Status UpdateSegment(grpc::ServerContext* context, const v1::UpdateSegmentRequest* request,
                             v1::Segment* response) override {
    return Answer(context, Role::kWrite, response,
                  [&](const Call& call) { return Update(call, request->segment()); });
  }

  grpc::Status DeleteSegments(grpc::ServerContext* context,
                              const v1::DeleteSegmentsRequest* request,
                              google::protobuf::Empty* response) override {
    return Answer(context, Role::kWrite, response,
                  [&](const Call& call) { return Delete(call, *request); });
  }

  grpc::Status CloneSegment(grpc::ServerContext* context, const v1::CloneSegmentRequest* request,
                            v1::Segment* response) override {
    return Answer(
        context, Role::kWrite, response, [&](const Call& call) -> absl::StatusOr<v1::Segment> {
          if (request->id().empty()) return Missing("id", "is required: the segment to clone");
          const StoredSegments stored(definitions_);
          const v1::Segment* original = stored.Find(request->id());
          if (original == nullptr) return NoSegment(request->id());
          if (Invalid(*original)) return CannotBeRun(*original);
          v1::Segment clone = WrittenPart(*original);
          clone.set_id(request->new_id());
          clone.set_name(
              request->new_name().empty()
                  ? CutToCharacters(absl::StrCat("Copy of ", original->name()), kMaxNameLength)
                  : request->new_name());
          return Create(call, std::move(clone), {{"id", "new_id"}, {"name", "new_name"}});
        });
  }

  grpc::Status ListSegments(grpc::ServerContext* context, const v1::ListSegmentsRequest* request,
                            v1::ListSegmentsResponse* response) override {
    return Answer(context, Role::kRead, response, [&](const Call&) { return List(*request); });
  }

  grpc::Status ValidateSegment(grpc::ServerContext* context,
                               const v1::ValidateSegmentRequest* request,
                               v1::ValidateSegmentResponse* response) override {
    return Answer(context, Role::kRead, response, [&](const Call&) {
      const v1::Segment segment = WrittenPart(request->segment());
      const StoredSegments stored(definitions_);
      std::vector<Violation> violations = CheckDefinition(segment, stored);
      if (absl::Status taken = CheckFree(segment.id(), stored); !taken.ok()) {
        violations.push_back({"id", std::string(taken.message())});
      } else if (absl::Status room = CheckRoom(stored); !room.ok()) {
        violations.push_back({"", std::string(room.message())});
      }
      v1::ValidateSegmentResponse answer;
      for (Violation& violation : violations) {
        v1::Violation* told = answer.add_violations();
        told->set_path(std::move(violation.path));
        told->set_message(std::move(violation.message));
      }
      return absl::StatusOr<v1::ValidateSegmentResponse>(std::move(answer));
    });
  }

  grpc::Status PauseSegment(grpc::ServerContext* context, const v1::PauseSegmentRequest* request,
                            v1::Segment* response) override {
    return Answer(context, Role::kWrite, response,
                  [&](const Call& call) { return SetPaused(call, request->id(), true); });
  }

  grpc::Status ResumeSegment(grpc::ServerContext* context, const v1::ResumeSegmentRequest* request,
                             v1::Segment* response) override {
    return Answer(context, Role::kWrite, response,
                  [&](const Call& call) { return SetPaused(call, request->id(), false); });
  }

  grpc::Status EstimateSegment(grpc::ServerContext* context,
                               const v1::EstimateSegmentRequest* request,
                               grpc::ServerWriter<v1::EstimateSegmentResponse>* writer) override {
    const Call call(*context, clock_, kLongestEstimate);
    absl::Status status = call.Allowed(access_, Role::kRead);
    if (status.ok()) status = call.Check();
    if (status.ok()) status = Estimate(call, WrittenPart(request->segment()), writer);
    return ToGrpc(status);
  }

 private:
  template <typename Response, typename Function>
  grpc::Status Answer(grpc::ServerContext* context, Role needed, Response* response,
                      Function function) {
    const Call call(*context, clock_, kLongestCall);
    absl::Status status = call.Allowed(access_, needed);
    if (status.ok()) status = call.Check();
    if (!status.ok()) return ToGrpc(status);
    absl::StatusOr<Response> answer = function(call);
    if (!answer.ok()) return ToGrpc(answer.status());
    *response = *std::move(answer);
    return ToGrpc(absl::OkStatus());
  }

  static std::vector<Violation> CheckDefinition(const v1::Segment& segment,
                                                const StoredSegments& stored) {
    std::vector<Violation> violations = CheckSegment(segment);
    std::vector<Violation> references = CheckReferences(segment, stored);
    violations.insert(violations.end(), std::make_move_iterator(references.begin()),
                      std::make_move_iterator(references.end()));
    return violations;
  }

  static absl::Status CheckFree(const std::string& id, const StoredSegments& stored) {
    const v1::Segment* other = id.empty() ? nullptr : stored.FindAny(id);
    if (other == nullptr) return absl::OkStatus();
    if (StoredSegments::Deleting(*other)) return IsBeingDeleted(id);
    return absl::AlreadyExistsError(absl::StrCat("the ID \"", id, "\" is taken by \"",
                                                 other->name(),
                                                 "\"; choose another one or update that segment"));
  }

  static absl::Status CheckRoom(const StoredSegments& stored) {
    const auto kept =
        std::count_if(stored.all().begin(), stored.all().end(),
                      [](const v1::Segment& s) { return !StoredSegments::Deleting(s); });
    if (kept < kMaxSegments) return absl::OkStatus();
    // With the details of a violation: unlike too many calls at once it does not pass by itself,
    // and callers can tell the two apart.
    const absl::Status violation = Missing(
        "", absl::StrFormat("there are %d segments, and at most %d are allowed; delete some first",
                            kept, kMaxSegments));
    absl::Status full(absl::StatusCode::kResourceExhausted, violation.message());
    violation.ForEachPayload(
        [&full](absl::string_view type, const absl::Cord& bytes) { full.SetPayload(type, bytes); });
    return full;
  }

  // `renamed`: violations' paths as the request calls them.
  absl::StatusOr<v1::Segment> Create(
      const Call& call, v1::Segment segment,
      const absl::flat_hash_map<std::string, std::string>& renamed = {}) {
    absl::StatusOr<std::string> user = call.User();
    if (!user.ok()) return user.status();
    absl::StatusOr<WriterTurn::Taken> turn = turn_.Take(call);
    if (!turn.ok()) return turn.status();
    const StoredSegments stored(definitions_);
    std::vector<Violation> violations = CheckDefinition(segment, stored);
    for (Violation& violation : violations) {
      if (const auto name = renamed.find(violation.path); name != renamed.end()) {
        violation.path = name->second;
      }
    }
    absl::Status status = ViolationsError(violations);
    if (status.ok()) status = CheckFree(segment.id(), stored);
    if (status.ok()) status = CheckRoom(stored);
    if (!status.ok()) return status;

    const absl::Time now = call.now();
    if (segment.id().empty()) segment.set_id(AssignId(now, stored));
    segment.set_version(1);
    SetTimestamp(Time::Millis(absl::ToUnixMillis(now)), segment.mutable_create_time());
    SetTimestamp(Time::Millis(absl::ToUnixMillis(now)), segment.mutable_update_time());
    segment.set_created_by(*user);
    segment.set_updated_by(*std::move(user));
    return Write(call, std::move(segment), *std::move(turn));
  }

  absl::StatusOr<v1::Segment> Update(const Call& call, const v1::Segment& wanted) {
    if (wanted.id().empty()) return Missing("id", "is required: the segment to update");
    if (wanted.etag().empty()) {
      return Missing(
          "etag",
          "is required: read the segment with GetSegment, change it, and send it with its etag");
    }
    absl::StatusOr<std::string> user = call.User();
    if (!user.ok()) return user.status();
    absl::StatusOr<WriterTurn::Taken> turn = turn_.Take(call);
    if (!turn.ok()) return turn.status();
    const StoredSegments stored(definitions_);
    const v1::Segment* present = stored.FindAny(wanted.id());
    if (present == nullptr) return NoSegment(wanted.id());
    if (StoredSegments::Deleting(*present)) return IsBeingDeleted(wanted.id());
    if (present->etag() != wanted.etag()) return ChangedMeanwhile(*present);

    v1::Segment next = WrittenPart(wanted);
    std::vector<Violation> violations = CheckDefinition(next, stored);
    // Of one that is not run it tells neither: the tasks know what they run.
    const bool known = !Invalid(*present);
    if (known && next.shadow() && !present->shadow()) {
      violations.push_back(
          {"shadow",
           "can only be set at creation: consumers know this segment's members already; clone it "
           "and set shadow there, or pause it"});
    }
    if (known && next.definition_case() != present->definition_case() &&
        next.definition_case() != v1::Segment::DEFINITION_NOT_SET) {
      violations.push_back(
          {std::string(KindOf(next)),
           absl::StrCat("the segment is of the kind ", KindOf(*present),
                        ", which an update can't change; create another segment")});
    }
    if (absl::Status status = ViolationsError(violations); !status.ok()) return status;
    // To what could be read last is a change where that is not what is stored.
    if (!Invalid(*present) && Fingerprint(next) == Fingerprint(WrittenPart(*present))) {
      return *present;
    }

    // A guard pauses without a version: an update does not end that either.
    next.set_paused(Stopped(*present));
    return WriteNext(call, std::move(next), *present, *std::move(user), *std::move(turn));
  }

  absl::StatusOr<v1::Segment> SetPaused(const Call& call, const std::string& id, bool paused) {
    if (id.empty()) return Missing("id", "is required: the segment's ID");
    absl::StatusOr<std::string> user = call.User();
    if (!user.ok()) return user.status();
    absl::StatusOr<WriterTurn::Taken> turn = turn_.Take(call);
    if (!turn.ok()) return turn.status();
    const StoredSegments stored(definitions_);
    const v1::Segment* present = stored.FindAny(id);
    if (present == nullptr) return NoSegment(id);
    if (StoredSegments::Deleting(*present)) return IsBeingDeleted(id);
    if (Invalid(*present)) return CannotBeRun(*present);
    // A guard pauses without a version: resuming needs one all the same.
    if (paused ? present->paused() : !Stopped(*present)) return *present;
    v1::Segment next = WrittenPart(*present);
    next.set_paused(paused);
    if (!paused) next.set_resumed_version(present->version() + 1);
    return WriteNext(call, std::move(next), *present, *std::move(user), *std::move(turn));
  }

  // As the version after `present`.
  absl::StatusOr<v1::Segment> WriteNext(const Call& call, v1::Segment next,
                                        const v1::Segment& present, std::string user,
                                        WriterTurn::Taken turn) {
    next.set_version(present.version() + 1);
    if (next.resumed_version() == 0) next.set_resumed_version(present.resumed_version());
    // Without it the tasks know that this mends a record which said nothing to be relied on.
    if (present.has_create_time() && !UnfitRecord(present)) {
      *next.mutable_create_time() = present.create_time();
    }
    next.set_created_by(present.created_by());
    SetTimestamp(Time::Millis(absl::ToUnixMillis(call.now())), next.mutable_update_time());
    next.set_updated_by(std::move(user));
    return Write(call, std::move(next), std::move(turn));
  }

  absl::Status Estimate(const Call& call, v1::Segment segment,
                        grpc::ServerWriter<v1::EstimateSegmentResponse>* writer) {
    if (segment.name().empty()) segment.set_name("Estimate");
    std::vector<Violation> violations = CheckDefinition(segment, StoredSegments(definitions_));
    if (segment.definition_case() != v1::Segment::kPastBehavior &&
        segment.definition_case() != v1::Segment::DEFINITION_NOT_SET) {
      violations = {
          {std::string(KindOf(segment)),
           "can't be estimated: only past_behavior says who is in from what has happened; "
           "create a live segment with shadow: true and count its members"}};
    }
    if (absl::Status status = ViolationsError(violations); !status.ok()) return status;
    if (estimates_ == nullptr) {
      return absl::UnavailableError("this server has no input to estimate from");
    }
    const Place place(&running_estimates_, kMaxEstimates);
    if (!place.got()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          kMaxEstimates, " estimates are being made, as many as are allowed; try again later"));
    }

    absl::Status stopped;
    absl::Time next_report = absl::InfinitePast();
    const auto report = [&](double progress) {
      if (ending_) stopped = absl::UnavailableError("the server is ending; ask again");
      if (stopped.ok()) stopped = call.Check();
      if (!stopped.ok()) return false;
      if (const absl::Time now = call.now(); now >= next_report) {
        next_report = now + kReportInterval;
        v1::EstimateSegmentResponse response;
        response.set_progress(std::clamp(progress, 0.0, 1.0));
        if (!writer->Write(response)) stopped = absl::CancelledError("the call was cancelled");
      }
      return stopped.ok();
    };
    int64_t members = 0;
    int64_t users = 0;
    absl::Status status;
    if (report(0)) status = estimates_->estimate(segment, report, &members, &users);
    if (!stopped.ok()) return stopped;
    if (!status.ok()) return status;
    v1::EstimateSegmentResponse last;
    last.set_progress(1);
    last.set_members(members);
    last.set_users(users);
    writer->Write(last);
    return absl::OkStatus();
  }

  absl::StatusOr<google::protobuf::Empty> Delete(const Call& call,
                                                 const v1::DeleteSegmentsRequest& request) {
    if (request.ids().empty() || request.ids_size() > kMaxDeletedAtOnce) {
      return Missing("ids", absl::StrCat("1 to ", kMaxDeletedAtOnce, " are allowed"));
    }
    if (!request.etag().empty() && request.ids_size() != 1) {
      return Missing("etag", "is allowed with a single ID only");
    }
    absl::StatusOr<WriterTurn::Taken> turn = turn_.Take(call);
    if (!turn.ok()) return turn.status();
    const StoredSegments stored(definitions_);

    const absl::flat_hash_set<std::string> ids(request.ids().begin(), request.ids().end());
    std::vector<std::string> missing;
    for (const std::string& id : ids) {
      if (stored.Find(id) == nullptr)
        missing.push_back(absl::StrCat("\"", absl::CHexEscape(id), "\""));
    }
    if (!missing.empty()) {
      std::sort(missing.begin(), missing.end());
      return absl::NotFoundError(
          absl::StrCat("nothing was deleted, for there is no segment ", NameIds(missing)));
    }
    if (const v1::Segment* only = stored.Find(request.ids(0));
        !request.etag().empty() && only->etag() != request.etag()) {
      return ChangedMeanwhile(*only);
    }
    std::vector<std::string> refusals;
    for (const v1::Segment& segment : stored.all()) {
      if (ids.contains(segment.id()) || StoredSegments::Deleting(segment)) continue;
      for (const Reference& reference : ReferencesOf(segment)) {
        if (!ids.contains(reference.segment_id)) continue;
        refusals.push_back(absl::StrCat("\"", segment.id(), "\" refers to \"", reference.segment_id,
                                        "\" (", reference.path, ")"));
      }
    }
    if (!refusals.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "nothing was deleted, for ", NameIds(refusals),
          "; change or delete the referring segments first, or along with the others"));
    }

    // Referring segments go first, so that no reader ever sees a reference to nothing.
    const std::vector<std::string> order =
        ReferrersFirst({request.ids().begin(), request.ids().end()}, stored);
    std::vector<DefinitionLog::Write> writes;
    writes.reserve(order.size());
    for (const std::string& id : order) writes.push_back({id, std::nullopt});
    if (absl::Status status = Append(call, writes); !status.ok()) return status;
    turn->Release();
    for (const std::string& id : order) {
      if (!WaitApplied(call, id, 0, /*ends_builds=*/true)) break;
    }
    return google::protobuf::Empty();
  }

  absl::StatusOr<v1::ListSegmentsResponse> List(const v1::ListSegmentsRequest& request) {
    if (absl::Status status = ViolationsError(CheckListRequest(request)); !status.ok())
      return status;
    absl::StatusOr<Order> order = ParseOrder(request.order_by());
    if (!order.ok()) return order.status();

    v1::ListSegmentsRequest lasting = request;
    lasting.clear_page_size();
    lasting.clear_page_token();
    const std::string fingerprint = Fingerprint(lasting);
    std::optional<PagePosition> after;
    if (!request.page_token().empty()) {
      if (request.page_token().size() <= kMaxTokenBytes) {
        after = DecodePageToken(fingerprint, request.page_token());
      }
      if (!after) {
        return Missing(
            "page_token",
            "is not of this list: send the next_page_token of the previous page along with the "
            "same search, filters and order_by, or none for the first page");
      }
    }

    struct Row {
      PagePosition position;
      const v1::Segment* segment;
    };
    const auto before = [&order](const PagePosition& a, const PagePosition& b) {
      const int keys = a.key.compare(b.key);
      const int both = keys != 0 ? keys : a.id.compare(b.id);
      return order->descending ? both > 0 : both < 0;
    };
    const StoredSegments stored(definitions_);
    const Filter filter(request);
    std::vector<Row> rows;
    for (const v1::Segment& segment : stored.all()) {
      if (filter.Holds(segment))
        rows.push_back({{SortKey(segment, order->by), segment.id()}, &segment});
    }
    std::sort(rows.begin(), rows.end(),
              [&before](const Row& a, const Row& b) { return before(a.position, b.position); });

    v1::ListSegmentsResponse response;
    response.set_total_size(static_cast<int32_t>(rows.size()));
    auto row = rows.begin();
    if (after) {
      row = std::upper_bound(
          rows.begin(), rows.end(), *after,
          [&before](const PagePosition& a, const Row& b) { return before(a, b.position); });
    }
    const int size =
        request.page_size() == 0 ? kDefaultPageSize : std::min(request.page_size(), kMaxPageSize);
    for (; row != rows.end() && response.segments_size() < size; ++row) {
      *response.add_segments() = *row->segment;
    }
    if (row != rows.end()) {
      response.set_next_page_token(EncodePageToken(fingerprint, std::prev(row)->position));
    }
    return response;
  }

  static absl::Status ChangedMeanwhile(const v1::Segment& present) {
    return absl::AbortedError(absl::StrCat(
        "segment \"", present.id(), "\" was changed by somebody else meanwhile (it is at version ",
        present.version(), ", etag ", present.etag(), "); read it again, then repeat your change"));
  }

  // Unix seconds, or the number after the last one where those are taken: a number in text that
  // sorts by creation. Those of the week ahead count as given out before a restart, in a burst of
  // more than one a second.
  std::string AssignId(absl::Time now, const StoredSegments& stored) {
    const int64_t seconds = absl::ToUnixSeconds(now);
    int64_t id = std::max(seconds, last_id_ + 1);
    for (const v1::Segment& segment : stored.all()) {
      int64_t other = 0;
      if (segment.id().size() == 10 && absl::SimpleAtoi(segment.id(), &other) && other >= id &&
          other < seconds + int64_t{7} * 24 * 3600) {
        id = other + 1;
      }
    }
    while (stored.FindAny(absl::StrCat(id)) != nullptr) ++id;
    last_id_ = id;
    return absl::StrCat(id);
  }

  absl::Status Append(const Call& call, const std::vector<DefinitionLog::Write>& writes) {
    if (absl::Status status = call.Check(); !status.ok()) return status;
    return definitions_.Append(writes, call.deadline());
  }

  // False when the call's time, but for the margin, ended first, or the version waits until the one
  // before is built, which may take as long as a history takes to read; a pause and a deletion end
  // that.
  bool WaitApplied(const Call& call, const std::string& id, int64_t version, bool ends_builds) {
    const absl::Time until = call.deadline() - kAnswerMargin;
    for (;;) {
      if (!ends_builds && definitions_.WaitsForBuild(id, version)) return false;
      const absl::Time slice = std::min(until, call.now() + kCancellationCheck);
      if (definitions_.WaitApplied(id, version, slice)) return true;
      if (call.cancelled() || call.now() >= until) return false;
    }
  }

  // The segment as stored, once every task has applied it, else PENDING.
  absl::StatusOr<v1::Segment> Write(const Call& call, v1::Segment segment, WriterTurn::Taken turn) {
    segment.set_etag(EtagOf(segment));
    if (absl::Status status = Append(call, {{segment.id(), segment}}); !status.ok()) return status;
    turn.Release();
    const bool applied = WaitApplied(call, segment.id(), segment.version(),
                                     /*ends_builds=*/segment.paused());
    const StoredSegments stored(definitions_);
    // Another writer may have come since.
    if (const v1::Segment* present = stored.FindAny(segment.id());
        present != nullptr && present->etag() == segment.etag()) {
      segment.set_status(present->status());
      segment.set_status_detail(present->status_detail());
      segment.set_build_progress(present->build_progress());
    }
    if (!applied && (segment.status() == v1::SEGMENT_STATUS_ACTIVE ||
                     segment.status() == v1::SEGMENT_STATUS_UNSPECIFIED)) {
      segment.set_status(v1::SEGMENT_STATUS_PENDING);
    } else if (applied && segment.status() == v1::SEGMENT_STATUS_UNSPECIFIED) {
      segment.set_status(v1::SEGMENT_STATUS_ACTIVE);
    }
    return segment;
  }

  DefinitionLog& definitions_;
  const std::function<absl::Time()> clock_;
  const Access& access_;
  Estimates* const estimates_;
  std::atomic<bool> ending_ = false;
  std::atomic<int> running_estimates_ = 0;
  WriterTurn turn_;
  // Only by who has the turn.
  int64_t last_id_ = 0;
};

SegmentService::SegmentService(DefinitionLog& definitions, std::function<absl::Time()> clock,
                               const Access& access, Estimates* estimates)
    : handlers_(std::make_unique<Handlers>(definitions, std::move(clock), access, estimates)) {}

SegmentService::~SegmentService() = default;

void SegmentService::EndStreams() {
  handlers_->EndStreams();
}

grpc::Service& SegmentService::handlers() {
  return *handlers_;
}

}  // namespace segmentd
