#include "api/membership_service.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "api/digest.h"
#include "proto/segments/v1/membership_service.grpc.pb.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_change_feed.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/memory_queries.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::MembershipChange Change(const std::string& segment, const std::string& user, int number) {
  v1::MembershipChange change;
  change.set_action(v1::ADD);
  change.set_segment_id(segment);
  change.set_user_id(user);
  change.set_change_id(absl::StrCat("events-0:", number));
  return change;
}

class MembershipServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    for (const char* id : {"paid", "cart-left", "gone"}) {
      v1::Segment segment;
      segment.set_id(id);
      segment.set_name(absl::StrCat("The ", id));
      segment.set_status(std::string(id) == "gone" ? v1::SEGMENT_STATUS_DELETING
                                                   : v1::SEGMENT_STATUS_ACTIVE);
      log_.Put(segment);
    }
    queries_.members["cart-left"] = {{"ada", Time::Millis(1500)}, {"bob", Time::Millis(-1)}};
    queries_.members["paid"] = {{"ada", Time::Millis(2000)}};
    queries_.members["gone"] = {{"ada", Time::Millis(1)}};
    queries_.next_change = {{0, 17}, {3, 4}};
    Start(Access::Open(), {});
  }
  void TearDown() override {
    if (server_) server_->Shutdown();
  }

  void Start(Access access, StreamLimits limits) {
    stub_.reset();
    if (server_) server_->Shutdown();
    access_ = std::make_unique<Access>(std::move(access));
    service_ = std::make_unique<MembershipService>(queries_, log_, feed_, clock_.function(),
                                                   *access_, limits);
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_->handlers());
    server_ = builder.BuildAndStart();
    stub_ = v1::MembershipService::NewStub(server_->InProcessChannel({}));
  }

  template <typename Request, typename Response>
  grpc::Status Ask(grpc::Status (v1::MembershipService::Stub::*method)(grpc::ClientContext*,
                                                                       const Request&, Response*),
                   const Request& request, Response* response) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, response);
  }
  grpc::Status IsMember(const std::string& segment, const std::string& user,
                        v1::IsMemberResponse* response) {
    v1::IsMemberRequest request;
    request.set_segment_id(segment);
    request.set_user_id(user);
    return Ask(&v1::MembershipService::Stub::IsMember, request, response);
  }
  grpc::Status Batch(const std::vector<std::string>& users,
                     const std::vector<std::string>& segments,
                     v1::BatchIsMemberResponse* response) {
    v1::BatchIsMemberRequest request;
    request.mutable_user_ids()->Add(users.begin(), users.end());
    request.mutable_segment_ids()->Add(segments.begin(), segments.end());
    return Ask(&v1::MembershipService::Stub::BatchIsMember, request, response);
  }
  grpc::Status Count(const std::vector<std::string>& segments, v1::CountMembersResponse* response) {
    v1::CountMembersRequest request;
    request.mutable_segment_ids()->Add(segments.begin(), segments.end());
    return Ask(&v1::MembershipService::Stub::CountMembers, request, response);
  }
  grpc::Status List(const std::string& segment, int64_t limit,
                    std::vector<v1::ListMembersResponse>* pages) {
    grpc::ClientContext context;
    v1::ListMembersRequest request;
    request.set_segment_id(segment);
    request.set_limit(limit);
    const auto reader = stub_->ListMembers(&context, request);
    v1::ListMembersResponse page;
    while (reader->Read(&page)) pages->push_back(page);
    return reader->Finish();
  }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  MemoryQueries queries_;
  MemoryChangeFeed feed_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<MembershipService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::MembershipService::Stub> stub_;
};

TEST_F(MembershipServiceTest, IsMemberTellsSinceWhen) {
  v1::IsMemberResponse response;
  ASSERT_TRUE(IsMember("cart-left", "ada", &response).ok());
  EXPECT_TRUE(response.member());
  EXPECT_EQ(response.since().seconds(), 1);
  EXPECT_EQ(response.since().nanos(), 500'000'000);
  ASSERT_TRUE(IsMember("cart-left", "bob", &response).ok());
  EXPECT_EQ(response.since().seconds(), -1);
  EXPECT_EQ(response.since().nanos(), 999'000'000);
  ASSERT_TRUE(IsMember("paid", "bob", &response).ok());
  EXPECT_FALSE(response.member());
  EXPECT_FALSE(response.has_since());
  ASSERT_TRUE(IsMember("paid", "nobody", &response).ok());
  EXPECT_FALSE(response.member());
}

TEST_F(MembershipServiceTest, ACallWithoutADeadlineHas60Seconds) {
  v1::IsMemberResponse response;
  ASSERT_TRUE(IsMember("paid", "ada", &response).ok());
  EXPECT_EQ(queries_.asked_until, clock_.now() + absl::Seconds(60));

  grpc::ClientContext context;
  const auto soon = std::chrono::system_clock::now() + std::chrono::seconds(30);
  context.set_deadline(soon);
  v1::IsMemberRequest request;
  request.set_segment_id("paid");
  request.set_user_id("ada");
  ASSERT_TRUE(stub_->IsMember(&context, request, &response).ok());
  // What travels is the time left, so that it comes out a little later or earlier.
  EXPECT_LT(queries_.asked_until, absl::FromChrono(soon) + absl::Seconds(20));
  EXPECT_GT(queries_.asked_until, absl::FromChrono(soon) - absl::Seconds(20));
}

TEST_F(MembershipServiceTest, AnUnknownSegmentIsNamed) {
  v1::IsMemberResponse is_member;
  v1::BatchIsMemberResponse batch;
  v1::CountMembersResponse count;
  std::vector<v1::ListMembersResponse> pages;
  v1::ExplainRequest explain;
  explain.set_segment_id("gone");
  explain.set_user_id("ada");
  v1::Explanation explanation;
  for (const grpc::Status& status :
       {IsMember("gone", "ada", &is_member), Batch({"ada"}, {"paid", "gone"}, &batch),
        Count({"gone"}, &count), List("gone", 0, &pages),
        Ask(&v1::MembershipService::Stub::Explain, explain, &explanation)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("\"gone\""));
  }
  EXPECT_EQ(IsMember("nobody", "ada", &is_member).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MembershipServiceTest, IdsAreRequiredAndBounded) {
  v1::IsMemberResponse response;
  EXPECT_EQ(IsMember("", "ada", &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(IsMember("paid", "", &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(IsMember("paid", std::string(1025, 'u'), &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(IsMember("paid", std::string(1024, 'u'), &response).ok());
  // Both are told at once.
  const grpc::Status status = IsMember("", "", &response);
  EXPECT_THAT(status.error_message(), HasSubstr("segment_id: "));
  EXPECT_THAT(status.error_message(), HasSubstr("\nuser_id: "));
  v1::ListUserSegmentsResponse segments;
  EXPECT_EQ(
      Ask(&v1::MembershipService::Stub::ListUserSegments, v1::ListUserSegmentsRequest(), &segments)
          .error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
  v1::Explanation explanation;
  EXPECT_EQ(
      Ask(&v1::MembershipService::Stub::Explain, v1::ExplainRequest(), &explanation).error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(MembershipServiceTest, BatchAnswersRowByRow) {
  v1::BatchIsMemberResponse response;
  ASSERT_TRUE(Batch({"bob", "nobody", "ada", "bob"}, {"paid", "cart-left"}, &response).ok());
  EXPECT_THAT(response.member(), ElementsAre(false, true, false, false, true, true, false, true));
}

TEST_F(MembershipServiceTest, BatchTakesAThousandPairs) {
  v1::BatchIsMemberResponse response;
  const std::vector<std::string> users(500, "ada");
  ASSERT_TRUE(Batch(users, {"paid", "cart-left"}, &response).ok());
  EXPECT_EQ(response.member_size(), 1000);
  EXPECT_EQ(Batch(users, {"paid", "cart-left", "paid"}, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Batch({}, {"paid"}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Batch({"ada"}, {}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status status = Batch({"ada", ""}, {"paid"}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("user_ids[1]"));
  EXPECT_THAT(Batch({"ada"}, {"paid", ""}, &response).error_message(), HasSubstr("segment_ids[1]"));
}

TEST_F(MembershipServiceTest, ListUserSegmentsLeavesOutWhatIsBeingDeleted) {
  v1::ListUserSegmentsRequest request;
  request.set_user_id("ada");
  v1::ListUserSegmentsResponse response;
  ASSERT_TRUE(Ask(&v1::MembershipService::Stub::ListUserSegments, request, &response).ok());
  ASSERT_EQ(response.segments_size(), 2);
  EXPECT_EQ(response.segments(0).segment_id(), "cart-left");
  EXPECT_EQ(response.segments(0).segment_name(), "The cart-left");
  EXPECT_EQ(response.segments(0).since().seconds(), 1);
  EXPECT_EQ(response.segments(1).segment_id(), "paid");
}

TEST_F(MembershipServiceTest, CountsComeInTheOrderOfTheRequest) {
  v1::CountMembersResponse response;
  ASSERT_TRUE(Count({"paid", "cart-left"}, &response).ok());
  EXPECT_THAT(response.counts(), ElementsAre(1, 2));
  EXPECT_EQ(Count({}, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(Count(std::vector<std::string>(2500, "paid"), &response).ok());
  EXPECT_EQ(Count(std::vector<std::string>(2501, "paid"), &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(MembershipServiceTest, ExplainFillsTheIds) {
  v1::ExplainRequest request;
  request.set_segment_id("paid");
  request.set_user_id("ada");
  v1::Explanation explanation;
  ASSERT_TRUE(Ask(&v1::MembershipService::Stub::Explain, request, &explanation).ok());
  EXPECT_EQ(explanation.segment_id(), "paid");
  EXPECT_EQ(explanation.user_id(), "ada");
  EXPECT_EQ(explanation.root().text(), "about ada");
}

TEST_F(MembershipServiceTest, ErrorsOfTheTasksAreTold) {
  queries_.error = absl::UnavailableError("partition 3 is not running here; retry");
  v1::IsMemberResponse is_member;
  v1::BatchIsMemberResponse batch;
  v1::CountMembersResponse count;
  std::vector<v1::ListMembersResponse> pages;
  v1::ListUserSegmentsRequest of_user;
  of_user.set_user_id("ada");
  v1::ListUserSegmentsResponse segments;
  v1::ExplainRequest explain;
  explain.set_segment_id("paid");
  explain.set_user_id("ada");
  v1::Explanation explanation;
  for (const grpc::Status& status :
       {IsMember("paid", "ada", &is_member), Batch({"ada"}, {"paid"}, &batch),
        Count({"paid"}, &count), List("paid", 0, &pages),
        Ask(&v1::MembershipService::Stub::ListUserSegments, of_user, &segments),
        Ask(&v1::MembershipService::Stub::Explain, explain, &explanation)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(), "partition 3 is not running here; retry");
  }
  queries_.error = absl::DeadlineExceededError("the task did not answer in time");
  EXPECT_EQ(IsMember("paid", "ada", &is_member).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(MembershipServiceTest, ListMembersBeginsWithTheChangeNumbers) {
  std::vector<v1::ListMembersResponse> pages;
  ASSERT_TRUE(List("cart-left", 0, &pages).ok());
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_THAT(pages[0].user_ids(), IsEmpty());
  EXPECT_EQ(pages[0].next_change().at(0), 17);
  EXPECT_EQ(pages[0].next_change().at(3), 4);
  EXPECT_THAT(pages[1].user_ids(), ElementsAre("ada", "bob"));
  EXPECT_TRUE(pages[1].next_change().empty());
}

TEST_F(MembershipServiceTest, MembersComeInPagesOfAThousand) {
  for (int i = 0; i < 2500; ++i) queries_.members["paid"][absl::StrCat("u", i)] = Time::Millis(0);
  const auto sizes = [this](size_t portion, int64_t limit) {
    queries_.portion_size = portion;
    std::vector<v1::ListMembersResponse> pages;
    EXPECT_TRUE(List("paid", limit, &pages).ok());
    std::vector<int> users;
    users.reserve(pages.size());
    for (const auto& page : pages) users.push_back(page.user_ids_size());
    return users;
  };
  EXPECT_THAT(sizes(5000, 0), ElementsAre(0, 1000, 1000, 501));
  EXPECT_THAT(sizes(5000, 1500), ElementsAre(0, 1000, 500));
  EXPECT_THAT(sizes(2000, 2000), ElementsAre(0, 1000, 1000));
  queries_.portions = 0;
  EXPECT_THAT(sizes(10, 25), ElementsAre(0, 10, 10, 5));
  // Nobody was asked for more.
  EXPECT_EQ(queries_.portions, 3);
  std::vector<v1::ListMembersResponse> pages;
  EXPECT_EQ(List("paid", -1, &pages).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(List("", 0, &pages).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// A watch that reads on until it is told to end.
class Watching {
 public:
  Watching(v1::MembershipService::Stub* stub, const v1::WatchRequest& request)
      : reader_(stub->Watch(&context_, request)) {}

  std::string Read() {
    v1::WatchResponse response;
    return reader_->Read(&response) ? response.change().change_id() : "the end";
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return reader_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
};

TEST_F(MembershipServiceTest, WatchFollowsFromNowOrFromANumber) {
  for (int i = 0; i < 3; ++i) feed_.Add(Change("paid", "ada", i));
  Watching from_now(stub_.get(), {});
  v1::WatchRequest request;
  (*request.mutable_from_change())[0] = 1;
  Watching from_number(stub_.get(), request);
  feed_.AwaitFollowers(2);
  feed_.Add(Change("paid", "bob", 3));
  EXPECT_EQ(from_now.Read(), "events-0:3");
  EXPECT_EQ(from_number.Read(), "events-0:1");
  EXPECT_EQ(from_number.Read(), "events-0:2");
  EXPECT_EQ(from_number.Read(), "events-0:3");
  from_now.Cancel();
  from_number.Cancel();
  EXPECT_EQ(from_now.Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The server notices, too: nothing was to be told, and nothing ends the feed but that.
  feed_.AwaitFollowers(0);
}

TEST_F(MembershipServiceTest, WatchTellsOnlyWhatWasAskedFor) {
  feed_.Add(Change("paid", "ada", 0));
  feed_.Add(Change("cart-left", "ada", 1));
  feed_.Add(Change("paid", "bob", 2));
  feed_.Add(Change("cart-left", "bob", 3));
  const auto read = [this](const std::string& segment, const std::string& user, int count) {
    v1::WatchRequest request;
    (*request.mutable_from_change())[0] = 0;
    request.set_segment_id(segment);
    request.set_user_id(user);
    Watching watch(stub_.get(), request);
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, watch.Read().substr(9));
    watch.Cancel();
    watch.Finish();
    return text;
  };
  EXPECT_EQ(read("", "", 4), "0123");
  EXPECT_EQ(read("paid", "", 2), "02");
  EXPECT_EQ(read("", "bob", 2), "23");
  EXPECT_EQ(read("cart-left", "bob", 1), "3");
}

TEST_F(MembershipServiceTest, WatchRefusesWrongRequests) {
  const auto status = [this](const v1::WatchRequest& request) {
    return Watching(stub_.get(), request).Finish();
  };
  v1::WatchRequest request;
  request.set_segment_id("gone");
  EXPECT_EQ(status(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.Clear();
  request.set_user_id(std::string(1025, 'u'));
  EXPECT_EQ(status(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.Clear();
  (*request.mutable_from_change())[0] = -1;
  EXPECT_EQ(status(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  feed_.oldest = 5;
  feed_.Add(Change("paid", "ada", 0));
  (*request.mutable_from_change())[0] = 0;
  EXPECT_EQ(status(request).error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(MembershipServiceTest, WatchesAreLimited) {
  Start(Access::Open(), {.watches = 2, .listings = 0});
  auto one = std::make_unique<Watching>(stub_.get(), v1::WatchRequest());
  Watching two(stub_.get(), {});
  feed_.AwaitFollowers(2);
  const grpc::Status status = Watching(stub_.get(), {}).Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("2"));
  std::vector<v1::ListMembersResponse> pages;
  EXPECT_EQ(List("paid", 0, &pages).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // A place that is given back is taken again; the call that gave it may still be about to.
  one->Cancel();
  one->Finish();
  feed_.AwaitFollowers(1);
  feed_.Add(Change("paid", "ada", 0));
  v1::WatchRequest request;
  (*request.mutable_from_change())[0] = 0;
  for (std::string read = "the end"; read == "the end";) {
    Watching three(stub_.get(), request);
    read = three.Read();
    if (read == "the end") {
      // Not cancelled first: that would hide the server's own answer.
      EXPECT_EQ(three.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    } else {
      three.Cancel();
    }
  }
  two.Cancel();
}

TEST_F(MembershipServiceTest, EndedStreamsSaySo) {
  Watching watch(stub_.get(), {});
  feed_.AwaitFollowers(1);
  service_->EndStreams();
  EXPECT_EQ(watch.Read(), "the end");
  const grpc::Status status = watch.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
  EXPECT_EQ(Watching(stub_.get(), {}).Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  std::vector<v1::ListMembersResponse> pages;
  EXPECT_EQ(List("paid", 0, &pages).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(MembershipServiceTest, EverythingNeedsAReadingToken) {
  absl::StatusOr<Access> access =
      Access::FromText(absl::StrCat("read ", absl::BytesToHexString(Sha256("secret"))));
  ASSERT_TRUE(access.ok()) << access.status();
  Start(*std::move(access), {});
  v1::IsMemberResponse is_member;
  EXPECT_EQ(IsMember("paid", "ada", &is_member).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  std::vector<v1::ListMembersResponse> pages;
  EXPECT_EQ(List("paid", 0, &pages).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Watching(stub_.get(), {}).Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer secret");
  v1::IsMemberRequest request;
  request.set_segment_id("paid");
  request.set_user_id("ada");
  EXPECT_TRUE(stub_->IsMember(&context, request, &is_member).ok());
}

}  // namespace
}  // namespace segmentd
