#include "api/membership_service.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "api/call.h"
#include "api/place.h"
#include "api/status.h"
#include "api/stored_segments.h"
#include "proto/segments/v1/membership_service.grpc.pb.h"
#include "segment/absl_view.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;

constexpr absl::Duration kLongestCall = absl::Seconds(60);
constexpr absl::Duration kLongestListing = absl::Minutes(10);

void CheckUser(std::string path, std::string_view user, std::vector<Violation>* violations) {
  if (!user.empty() && user.size() <= kMaxUserIdBytes) return;
  violations->push_back(
      {std::move(path), absl::StrCat("is required: a user ID of 1 to ", kMaxUserIdBytes,
                                     " bytes, the key of the user's events")});
}

void CheckSegmentId(std::string path, std::string_view id, std::vector<Violation>* violations) {
  if (id.empty()) violations->push_back({std::move(path), "is required: a segment's ID"});
}

absl::StatusOr<const v1::Segment*> FindSegment(const StoredSegments& stored, std::string_view id) {
  const v1::Segment* segment = stored.Find(id);
  if (segment == nullptr) {
    return absl::NotFoundError(absl::StrCat(
        "there is no segment \"", absl::CHexEscape(AbslView(id)), "\"; ListSegments shows all"));
  }
  return segment;
}

const Queries::Membership* FindMembership(const std::vector<Queries::Membership>& sorted,
                                          std::string_view segment_id) {
  const auto found = std::lower_bound(
      sorted.begin(), sorted.end(), segment_id,
      [](const Queries::Membership& m, std::string_view id) { return m.segment_id < id; });
  return found == sorted.end() || found->segment_id != segment_id ? nullptr : &*found;
}

}  // namespace

class MembershipService::Handlers final : public v1::MembershipService::Service {
 public:
  Handlers(Queries& queries, const DefinitionLog& definitions, ChangeFeed& changes,
           std::function<absl::Time()> clock, const Access& access, StreamLimits limits)
      : queries_(queries),
        definitions_(definitions),
        changes_(changes),
        clock_(std::move(clock)),
        access_(access),
        limits_(limits) {}

  void EndStreams() { ending_ = true; }

  grpc::Status IsMember(grpc::ServerContext* context, const v1::IsMemberRequest* request,
                        v1::IsMemberResponse* response) override {
    return Answer(context, [&](const Call& call) {
      absl::Status status = CheckPair(request->segment_id(), request->user_id());
      if (!status.ok()) return status;
      auto memberships = queries_.MembershipsOf({request->user_id()}, call.deadline());
      if (!memberships.ok()) return memberships.status();
      if (const auto* membership = FindMembership(memberships->front(), request->segment_id())) {
        response->set_member(true);
        SetTimestamp(membership->since, response->mutable_since());
      }
      return absl::OkStatus();
    });
  }

  grpc::Status BatchIsMember(grpc::ServerContext* context, const v1::BatchIsMemberRequest* request,
                             v1::BatchIsMemberResponse* response) override {
    return Answer(context, [&](const Call& call) -> absl::Status {
      const int64_t pairs = int64_t{request->user_ids_size()} * request->segment_ids_size();
      std::vector<Violation> violations;
      if (pairs < 1 || pairs > kMaxBatchPairs) {
        violations.push_back({request->user_ids().empty() ? "user_ids" : "segment_ids",
                              absl::StrCat("users x segments must be 1 to ", kMaxBatchPairs,
                                           ", and is ", pairs, "; split the request")});
        return ViolationsError(violations);
      }
      for (int i = 0; i < request->user_ids_size(); ++i) {
        CheckUser(absl::StrCat("user_ids[", i, "]"), request->user_ids(i), &violations);
      }
      if (absl::Status status = ViolationsError(violations); !status.ok()) return status;
      if (absl::Status status = CheckSegments(request->segment_ids()); !status.ok()) return status;
      auto memberships = queries_.MembershipsOf(
          {request->user_ids().begin(), request->user_ids().end()}, call.deadline());
      if (!memberships.ok()) return memberships.status();
      response->mutable_member()->Reserve(static_cast<int>(pairs));
      for (const std::vector<Queries::Membership>& of_user : *memberships) {
        for (const std::string& segment_id : request->segment_ids()) {
          response->add_member(FindMembership(of_user, segment_id) != nullptr);
        }
      }
      return absl::OkStatus();
    });
  }

  grpc::Status ListUserSegments(grpc::ServerContext* context,
                                const v1::ListUserSegmentsRequest* request,
                                v1::ListUserSegmentsResponse* response) override {
    return Answer(context, [&](const Call& call) {
      std::vector<Violation> violations;
      CheckUser("user_id", request->user_id(), &violations);
      if (absl::Status status = ViolationsError(violations); !status.ok()) return status;
      auto memberships = queries_.MembershipsOf({request->user_id()}, call.deadline());
      if (!memberships.ok()) return memberships.status();
      const StoredSegments stored(definitions_);
      for (const Queries::Membership& membership : memberships->front()) {
        // Of a segment that is gone the user's REMOVE is on its way.
        const v1::Segment* segment = stored.Find(membership.segment_id);
        if (segment == nullptr) continue;
        v1::UserSegment* told = response->add_segments();
        told->set_segment_id(segment->id());
        told->set_segment_name(segment->name());
        SetTimestamp(membership.since, told->mutable_since());
      }
      return absl::OkStatus();
    });
  }

  grpc::Status CountMembers(grpc::ServerContext* context, const v1::CountMembersRequest* request,
                            v1::CountMembersResponse* response) override {
    return Answer(context, [&](const Call& call) {
      if (request->segment_ids().empty() || request->segment_ids_size() > kMaxCountedSegments) {
        return ViolationsError(
            {{"segment_ids", absl::StrCat("1 to ", kMaxCountedSegments, " are allowed")}});
      }
      if (absl::Status status = CheckSegments(request->segment_ids()); !status.ok()) return status;
      auto counts = queries_.CountMembers(
          {request->segment_ids().begin(), request->segment_ids().end()}, call.deadline());
      if (!counts.ok()) return counts.status();
      response->mutable_counts()->Add(counts->begin(), counts->end());
      return absl::OkStatus();
    });
  }

  grpc::Status Explain(grpc::ServerContext* context, const v1::ExplainRequest* request,
                       v1::Explanation* response) override {
    return Answer(context, [&](const Call& call) {
      absl::Status status = CheckPair(request->segment_id(), request->user_id());
      if (!status.ok()) return status;
      auto explanation =
          queries_.Explain(request->segment_id(), request->user_id(), call.deadline());
      if (!explanation.ok()) return explanation.status();
      *response = *std::move(explanation);
      response->set_segment_id(request->segment_id());
      response->set_user_id(request->user_id());
      return absl::OkStatus();
    });
  }

  grpc::Status ListMembers(grpc::ServerContext* context, const v1::ListMembersRequest* request,
                           grpc::ServerWriter<v1::ListMembersResponse>* writer) override {
    const Call call(*context, clock_, kLongestListing);
    const Place place(&listings_, limits_.listings);
    return ToGrpc(
        Stream(call, place, limits_.listings, [&] { return ListMembers(call, *request, writer); }));
  }

  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    const Call call(*context, clock_, absl::InfiniteDuration());
    const Place place(&watches_, limits_.watches);
    return ToGrpc(
        Stream(call, place, limits_.watches, [&] { return Watch(call, *request, writer); }));
  }

 private:
  template <typename Function>
  grpc::Status Answer(grpc::ServerContext* context, Function function) {
    const Call call(*context, clock_, kLongestCall);
    absl::Status status = call.Allowed(access_, Role::kRead);
    if (status.ok()) status = call.Check();
    if (status.ok()) status = function(call);
    return ToGrpc(status);
  }

  template <typename Function>
  absl::Status Stream(const Call& call, const Place& place, int places, Function function) {
    if (absl::Status status = call.Allowed(access_, Role::kRead); !status.ok()) return status;
    if (!place.got()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("at most ", places, " of these streams run at once; retry with backoff"));
    }
    if (ending_) return Ending();
    return function();
  }

  static absl::Status Ending() {
    return absl::UnavailableError(
        "the server is shutting down; retry with backoff, a watch from the change number after the "
        "last one received");
  }

  bool Wanted(const Call& call) const { return !ending_ && !call.cancelled(); }

  // Why a stream is no longer wanted; OK when it is.
  absl::Status EndOf(const Call& call) const {
    if (ending_) return Ending();
    return call.Check();
  }

  absl::Status CheckPair(const std::string& segment_id, const std::string& user_id) const {
    std::vector<Violation> violations;
    CheckSegmentId("segment_id", segment_id, &violations);
    CheckUser("user_id", user_id, &violations);
    if (!violations.empty()) return ViolationsError(violations);
    return FindSegment(StoredSegments(definitions_), segment_id).status();
  }

  template <typename Ids>
  absl::Status CheckSegments(const Ids& ids) const {
    const StoredSegments stored(definitions_);
    for (int i = 0; i < ids.size(); ++i) {
      std::vector<Violation> violations;
      CheckSegmentId(absl::StrCat("segment_ids[", i, "]"), ids[i], &violations);
      if (!violations.empty()) return ViolationsError(violations);
      if (absl::Status status = FindSegment(stored, ids[i]).status(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ListMembers(const Call& call, const v1::ListMembersRequest& request,
                           grpc::ServerWriter<v1::ListMembersResponse>* writer) {
    std::vector<Violation> violations;
    CheckSegmentId("segment_id", request.segment_id(), &violations);
    if (request.limit() < 0) violations.push_back({"limit", "0 (for all) or more is allowed"});
    absl::Status status = ViolationsError(violations);
    if (status.ok())
      status = FindSegment(StoredSegments(definitions_), request.segment_id()).status();
    if (!status.ok()) return status;

    const int64_t limit =
        request.limit() == 0 ? std::numeric_limits<int64_t>::max() : request.limit();
    int64_t listed = 0;
    bool open = true;
    v1::ListMembersResponse page;
    const auto send = [&] {
      open = open && Wanted(call) && writer->Write(page);
      page.Clear();
      return open;
    };
    status = queries_.ListMembers(
        request.segment_id(), call.deadline(),
        [&](const std::map<int32_t, int64_t>& next_change) {
          page.mutable_next_change()->insert(next_change.begin(), next_change.end());
          send();
        },
        [&](std::vector<std::string> users) {
          for (std::string& user : users) {
            if (listed == limit) break;
            ++listed;
            page.add_user_ids(std::move(user));
            if (page.user_ids_size() == kMaxMembersPage && !send()) break;
          }
          if (open && page.user_ids_size() > 0) send();
          return open && listed < limit && call.Check().ok();
        });
    if (!status.ok()) return status;
    if (listed == limit) return absl::OkStatus();
    if (absl::Status end = EndOf(call); !end.ok()) return end;
    return open ? absl::OkStatus() : absl::CancelledError("the client went away");
  }

  absl::Status Watch(const Call& call, const v1::WatchRequest& request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) {
    std::vector<Violation> violations;
    if (!request.user_id().empty()) CheckUser("user_id", request.user_id(), &violations);
    for (const auto& [partition, number] : request.from_change()) {
      if (partition < 0 || number < 0) {
        violations.push_back(
            {absl::StrCat("from_change[", partition, "]"),
             "a partition and a change number, neither of them negative, are allowed"});
      }
    }
    absl::Status status = ViolationsError(violations);
    if (status.ok() && !request.segment_id().empty()) {
      status = FindSegment(StoredSegments(definitions_), request.segment_id()).status();
    }
    if (!status.ok()) return status;

    bool open = true;
    v1::WatchResponse response;
    status = changes_.Follow(
        {request.from_change().begin(), request.from_change().end()},
        [&](const v1::MembershipChange& change) {
          const bool asked =
              (request.segment_id().empty() || request.segment_id() == change.segment_id()) &&
              (request.user_id().empty() || request.user_id() == change.user_id());
          if (asked) {
            *response.mutable_change() = change;
            open = writer->Write(response);
          }
          return open && Wanted(call);
        },
        [&] { return Wanted(call); });
    if (!status.ok()) return status;
    if (absl::Status end = EndOf(call); !end.ok()) return end;
    return open ? absl::UnavailableError(
                      "the feed of changes ended; watch again from the number after the last "
                      "change received")
                : absl::CancelledError("the client went away");
  }

  Queries& queries_;
  const DefinitionLog& definitions_;
  ChangeFeed& changes_;
  const std::function<absl::Time()> clock_;
  const Access& access_;
  const StreamLimits limits_;
  std::atomic<int> watches_ = 0;
  std::atomic<int> listings_ = 0;
  std::atomic<bool> ending_ = false;
};

MembershipService::MembershipService(Queries& queries, const DefinitionLog& definitions,
                                     ChangeFeed& changes, std::function<absl::Time()> clock,
                                     const Access& access, StreamLimits limits)
    : handlers_(std::make_unique<Handlers>(queries, definitions, changes, std::move(clock), access,
                                           limits)) {}

MembershipService::~MembershipService() = default;

void MembershipService::EndStreams() {
  handlers_->EndStreams();
}

grpc::Service& MembershipService::handlers() {
  return *handlers_;
}

}  // namespace segmentd
