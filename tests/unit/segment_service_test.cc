#include "api/segment_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "api/digest.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

v1::Segment Live(const std::string& id, const std::string& name,
                 const std::string& event = "Charged") {
  v1::Segment segment;
  segment.set_id(id);
  segment.set_name(name);
  segment.mutable_live()->mutable_actions()->add_any_of()->set_event(event);
  return segment;
}

v1::Segment InSegment(const std::string& id, const std::string& other) {
  v1::Segment segment;
  segment.set_id(id);
  segment.set_name("In " + other);
  segment.mutable_past_behavior()->set_in_segment(other);
  return segment;
}

v1::Segment Past(const std::string& id, const std::string& event) {
  v1::Segment segment;
  segment.set_id(id);
  segment.set_name("Did " + event);
  segment.mutable_past_behavior()->mutable_did()->set_event(event);
  return segment;
}

struct Detail {
  std::string field;
  std::string description;
};

// Reads google.rpc.Status { ... details: [BadRequest] } by descriptors made here, as clients with
// Google's protos do.
std::vector<Detail> BadRequestOf(const grpc::Status& status) {
  google::protobuf::FileDescriptorProto file;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "rpc.proto"
        package: "google.rpc"
        syntax: "proto3"
        message_type {
          name: "Status"
          field { name: "code" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
          field { name: "message" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
          field {
            name: "details"
            number: 3
            type: TYPE_MESSAGE
            type_name: ".google.rpc.Any"
            label: LABEL_REPEATED
          }
        }
        message_type {
          name: "Any"
          field { name: "type_url" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
          field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL }
        }
        message_type {
          name: "BadRequest"
          field {
            name: "field_violations"
            number: 1
            type: TYPE_MESSAGE
            type_name: ".google.rpc.BadRequest.FieldViolation"
            label: LABEL_REPEATED
          }
          nested_type {
            name: "FieldViolation"
            field { name: "field" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
            field { name: "description" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
          }
        }
      )pb",
      &file));
  google::protobuf::DescriptorPool pool;
  EXPECT_NE(pool.BuildFile(file), nullptr);
  google::protobuf::DynamicMessageFactory factory;
  const auto parse = [&](const char* name, const std::string& bytes) {
    std::unique_ptr<google::protobuf::Message> message(
        factory.GetPrototype(pool.FindMessageTypeByName(name))->New());
    EXPECT_TRUE(message->ParseFromString(bytes));
    return message;
  };
  const auto text = [](const google::protobuf::Message& message, const char* field) {
    return message.GetReflection()->GetString(message,
                                              message.GetDescriptor()->FindFieldByName(field));
  };
  const auto rpc = parse("google.rpc.Status", status.error_details());
  const auto* code = rpc->GetDescriptor()->FindFieldByName("code");
  EXPECT_EQ(rpc->GetReflection()->GetInt32(*rpc, code), status.error_code());
  EXPECT_EQ(text(*rpc, "message"), status.error_message());
  const auto* details = rpc->GetDescriptor()->FindFieldByName("details");
  EXPECT_EQ(rpc->GetReflection()->FieldSize(*rpc, details), 1);
  const auto& any = rpc->GetReflection()->GetRepeatedMessage(*rpc, details, 0);
  EXPECT_EQ(text(any, "type_url"), "type.googleapis.com/google.rpc.BadRequest");
  const auto bad = parse("google.rpc.BadRequest", text(any, "value"));
  const auto* violations = bad->GetDescriptor()->FindFieldByName("field_violations");
  std::vector<Detail> found;
  for (int i = 0; i < bad->GetReflection()->FieldSize(*bad, violations); ++i) {
    const auto& violation = bad->GetReflection()->GetRepeatedMessage(*bad, violations, i);
    found.push_back({text(violation, "field"), text(violation, "description")});
  }
  return found;
}

class FakeEstimates final : public Estimates {
 public:
  absl::Status estimate(const v1::Segment& segment, const std::function<bool(double)>& report,
                        int64_t* members, int64_t* users) override {
    return on_estimate(segment, report, members, users);
  }
  std::function<absl::Status(const v1::Segment&, const std::function<bool(double)>&, int64_t*,
                             int64_t*)>
      on_estimate;
};

class SegmentServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    Start(Access::Open());
  }
  void TearDown() override {
    if (server_) server_->Shutdown();
  }

  void Start(Access access) {
    stub_.reset();
    if (server_) server_->Shutdown();
    access_ = std::make_unique<Access>(std::move(access));
    service_ = std::make_unique<SegmentService>(log_, clock_.function(), *access_, &estimates_);
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_->handlers());
    server_ = builder.BuildAndStart();
    stub_ = v1::SegmentService::NewStub(server_->InProcessChannel({}));
  }

  grpc::Status Create(const v1::Segment& segment, v1::Segment* stored,
                      const std::string& user = "") {
    grpc::ClientContext context;
    if (!user.empty()) context.AddMetadata(user_key_, user);
    v1::CreateSegmentRequest request;
    *request.mutable_segment() = segment;
    return stub_->CreateSegment(&context, request, stored);
  }
  v1::Segment Created(const v1::Segment& segment) {
    v1::Segment stored;
    const grpc::Status status = Create(segment, &stored);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stored;
  }
  grpc::Status Get(const std::string& id, v1::Segment* segment) {
    grpc::ClientContext context;
    v1::GetSegmentRequest request;
    request.set_id(id);
    return stub_->GetSegment(&context, request, segment);
  }
  grpc::Status Update(const v1::Segment& segment, v1::Segment* stored,
                      const std::string& user = "") {
    grpc::ClientContext context;
    if (!user.empty()) context.AddMetadata("x-user", user);
    v1::UpdateSegmentRequest request;
    *request.mutable_segment() = segment;
    return stub_->UpdateSegment(&context, request, stored);
  }
  grpc::Status Delete(const std::vector<std::string>& ids, const std::string& etag = "") {
    grpc::ClientContext context;
    v1::DeleteSegmentsRequest request;
    for (const std::string& id : ids) request.add_ids(id);
    request.set_etag(etag);
    google::protobuf::Empty nothing;
    return stub_->DeleteSegments(&context, request, &nothing);
  }
  grpc::Status Clone(const std::string& id, const std::string& new_id, const std::string& new_name,
                     v1::Segment* stored) {
    grpc::ClientContext context;
    v1::CloneSegmentRequest request;
    request.set_id(id);
    request.set_new_id(new_id);
    request.set_new_name(new_name);
    return stub_->CloneSegment(&context, request, stored);
  }
  grpc::Status List(const v1::ListSegmentsRequest& request, v1::ListSegmentsResponse* response) {
    grpc::ClientContext context;
    return stub_->ListSegments(&context, request, response);
  }
  // The IDs of all pages.
  std::vector<std::string> Listed(v1::ListSegmentsRequest request) {
    std::vector<std::string> ids;
    do {
      v1::ListSegmentsResponse response;
      const grpc::Status status = List(request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      for (const v1::Segment& segment : response.segments()) ids.push_back(segment.id());
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return ids;
  }
  std::vector<v1::Violation> Validated(const v1::Segment& segment) {
    grpc::ClientContext context;
    v1::ValidateSegmentRequest request;
    *request.mutable_segment() = segment;
    v1::ValidateSegmentResponse response;
    const grpc::Status status = stub_->ValidateSegment(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return {response.violations().begin(), response.violations().end()};
  }

  grpc::Status Pause(const std::string& id, v1::Segment* stored) {
    grpc::ClientContext context;
    v1::PauseSegmentRequest request;
    request.set_id(id);
    return stub_->PauseSegment(&context, request, stored);
  }
  grpc::Status Resume(const std::string& id, v1::Segment* stored) {
    grpc::ClientContext context;
    v1::ResumeSegmentRequest request;
    request.set_id(id);
    return stub_->ResumeSegment(&context, request, stored);
  }
  grpc::Status Estimate(const v1::Segment& segment,
                        std::vector<v1::EstimateSegmentResponse>* responses) {
    grpc::ClientContext context;
    v1::EstimateSegmentRequest request;
    *request.mutable_segment() = segment;
    const auto reader = stub_->EstimateSegment(&context, request);
    v1::EstimateSegmentResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  FakeEstimates estimates_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<SegmentService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::SegmentService::Stub> stub_;
  // The metadata in which Create names the user.
  std::string user_key_ = "x-user";
};

TEST_F(SegmentServiceTest, CreateSetsWhatOnlyTheServerSets) {
  v1::Segment wanted = Live("", "Paid");
  wanted.set_version(9);
  wanted.set_etag("mine");
  wanted.set_status(v1::SEGMENT_STATUS_INVALID);
  wanted.set_created_by("somebody");
  v1::Segment stored;
  ASSERT_TRUE(Create(wanted, &stored, "ada").ok());
  EXPECT_EQ(stored.id(), absl::StrCat(absl::ToUnixSeconds(clock_.now())));
  EXPECT_EQ(stored.name(), "Paid");
  EXPECT_EQ(stored.live().actions().any_of(0).event(), "Charged");
  EXPECT_EQ(stored.version(), 1);
  EXPECT_NE(stored.etag(), "mine");
  EXPECT_FALSE(stored.etag().empty());
  EXPECT_EQ(stored.status(), v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(stored.created_by(), "ada");
  EXPECT_EQ(stored.updated_by(), "ada");
  EXPECT_EQ(stored.create_time().seconds(), absl::ToUnixSeconds(clock_.now()));
  EXPECT_EQ(stored.update_time().seconds(), absl::ToUnixSeconds(clock_.now()));

  v1::Segment read;
  ASSERT_TRUE(Get(stored.id(), &read).ok());
  EXPECT_EQ(read.SerializeAsString(), stored.SerializeAsString());
}

TEST_F(SegmentServiceTest, AssignedIdsAscend) {
  std::string last;
  for (int i = 0; i < 5; ++i) {
    if (i == 3) clock_.Advance(-absl::Hours(1));
    const std::string id = Created(Live("", "Paid")).id();
    EXPECT_GT(id, last);
    last = id;
  }
  // Another server, without the memory of the first, goes on after what is stored.
  Start(Access::Open());
  EXPECT_GT(Created(Live("", "Paid")).id(), last);
  // A number that somebody chose far ahead does not pull the assigned ones along.
  Created(Live("9999999999", "Far"));
  EXPECT_LT(Created(Live("", "Paid")).id(), "9999999999");
}

TEST_F(SegmentServiceTest, CreateRefusesATakenId) {
  Created(Live("paid", "Paid"));
  v1::Segment stored;
  grpc::Status status = Create(Live("paid", "Paid again"), &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("\"paid\""));

  v1::Segment deleting = Live("gone", "Gone");
  deleting.set_status(v1::SEGMENT_STATUS_DELETING);
  log_.Put(deleting);
  status = Create(Live("gone", "Back"), &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(SegmentServiceTest, CreateTellsEveryViolation) {
  v1::Segment wrong = Live("Not An ID", "", "");
  v1::Segment stored;
  const grpc::Status status = Create(wrong, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const std::vector<std::string> lines = absl::StrSplit(status.error_message(), '\n');
  const std::vector<Detail> details = BadRequestOf(status);
  ASSERT_EQ(lines.size(), 3u) << status.error_message();
  ASSERT_EQ(details.size(), 3u);
  std::set<std::string> paths;
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i], details[i].field + ": " + details[i].description);
    paths.insert(details[i].field);
  }
  EXPECT_THAT(paths, ElementsAre("id", "live.actions.any_of[0].event", "name"));
  EXPECT_THAT(log_.appended(), IsEmpty());
}

TEST_F(SegmentServiceTest, ManyViolationsFitTheTrailers) {
  v1::Segment wrong = Live("", "Paid");
  for (int i = 0; i < 9; ++i) {
    v1::EventCondition* trigger = wrong.mutable_live()->mutable_actions()->add_any_of();
    trigger->set_event("Charged");
    for (int j = 0; j < 10; ++j) {
      v1::PropertyCondition* condition = trigger->add_where();
      // Percent-encoded it is six times as long.
      condition->set_property(std::string(500, 'x') + "\xc3\xa9");
      condition->set_matches("(\xc3\xa9" + std::string(900, 'y'));
    }
  }
  v1::Segment stored;
  const grpc::Status status = Create(wrong, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr(" more; ValidateSegment tells all"));
  EXPECT_FALSE(BadRequestOf(status).empty());
  EXPECT_GT(Validated(wrong).size(), BadRequestOf(status).size());
}

TEST_F(SegmentServiceTest, WhatThisVersionCannotRunIsUnimplemented) {
  v1::Segment list;
  list.set_name("Visitors");
  list.mutable_custom_list();
  v1::Segment stored;
  EXPECT_EQ(Create(list, &stored).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  list.clear_name();
  EXPECT_EQ(Create(list, &stored).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SegmentServiceTest, CreateDoesNotWaitForTheHistory) {
  log_.on_stored = [](v1::Segment* segment) {
    segment->set_status(v1::SEGMENT_STATUS_BUILDING);
    segment->set_build_progress(0.25);
    segment->set_status_detail("evaluating");
  };
  const v1::Segment stored = Created(Past("buyers", "Charged"));
  EXPECT_EQ(stored.status(), v1::SEGMENT_STATUS_BUILDING);
  EXPECT_EQ(stored.build_progress(), 0.25);
  EXPECT_EQ(stored.status_detail(), "evaluating");
  // Statuses come and go without another etag.
  v1::Segment renamed = stored;
  renamed.set_name("Buyers, all");
  v1::Segment updated;
  ASSERT_TRUE(Update(renamed, &updated).ok());
  EXPECT_EQ(updated.version(), 2);
}

TEST_F(SegmentServiceTest, CreateStopsAtTheLimit) {
  for (int i = 0; i < 2499; ++i) log_.Put(Live(absl::StrCat("s", i), "Segment"));
  v1::Segment deleting = Live("gone", "Gone");
  deleting.set_status(v1::SEGMENT_STATUS_DELETING);
  log_.Put(deleting);
  v1::Segment stored;
  ASSERT_TRUE(Create(Live("last", "Last"), &stored).ok());
  const grpc::Status status = Create(Live("over", "Over"), &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("2500"));
  EXPECT_THAT(Validated(Live("over", "Over")), testing::SizeIs(1));
  // It needs no more room.
  const std::vector<v1::Violation> taken = Validated(Live("last", "Last"));
  ASSERT_THAT(taken, testing::SizeIs(1));
  EXPECT_EQ(taken[0].path(), "id");
}

TEST_F(SegmentServiceTest, UserHasAtMost200Characters) {
  v1::Segment stored;
  EXPECT_TRUE(Create(Live("", "Paid"), &stored, std::string(200, 'u')).ok());
  EXPECT_EQ(stored.created_by(), std::string(200, 'u'));
  EXPECT_EQ(Create(Live("", "Paid"), &stored, std::string(201, 'u')).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SegmentServiceTest, UserInBinaryMetadataIsUtf8) {
  user_key_ = "x-user-bin";
  v1::Segment stored;
  for (const std::string& user : {std::string("Zo\u00eb"), std::string("ada")}) {
    EXPECT_TRUE(Create(Live("", "Paid"), &stored, user).ok());
    EXPECT_EQ(stored.created_by(), user);
  }
  std::string longest;
  for (int i = 0; i < 200; ++i) longest += "\u00eb";
  EXPECT_TRUE(Create(Live("", "Paid"), &stored, longest).ok());
  EXPECT_EQ(stored.created_by(), longest);
  for (const std::string& user : {longest + "u", std::string("Zo\xeb"), std::string("two\nlines"),
                                  std::string("\x7f"), std::string("a\0b", 3)}) {
    const grpc::Status status = Create(Live("", "Paid"), &stored, user);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << user;
    EXPECT_THAT(status.error_message(), HasSubstr("metadata x-user-bin: ")) << user;
  }
}

TEST_F(SegmentServiceTest, CreateReturnsPendingBeforeTheDeadline) {
  const absl::Time start = clock_.now();
  log_.on_wait = [this](absl::Time deadline) {
    clock_.AdvanceTo(deadline);
    return false;
  };
  const v1::Segment stored = Created(Live("paid", "Paid"));
  EXPECT_EQ(stored.status(), v1::SEGMENT_STATUS_PENDING);
  EXPECT_EQ(stored.version(), 1);
  // Nearly all of the 60 s of a call without a deadline were used, but not all.
  EXPECT_GT(clock_.now(), start + absl::Seconds(59));
  EXPECT_LT(clock_.now(), start + absl::Seconds(60));
}

TEST_F(SegmentServiceTest, CreateWaitsUntilItIsApplied) {
  int asked = 0;
  log_.on_wait = [&](absl::Time deadline) {
    if (++asked == 5) return true;
    clock_.AdvanceTo(deadline);
    return false;
  };
  EXPECT_EQ(Created(Live("paid", "Paid")).status(), v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(asked, 5);
}

TEST_F(SegmentServiceTest, NoCallWaitsUntilTheVersionBeforeIsBuilt) {
  v1::Segment segment = Created(Live("paid", "Paid"));
  log_.waits_for_build = true;
  int asked = 0;
  log_.on_wait = [&](absl::Time) {
    ++asked;
    return true;
  };
  v1::Segment stored;
  segment.set_name("Paid, too");
  ASSERT_TRUE(Update(segment, &stored).ok());
  EXPECT_EQ(stored.status(), v1::SEGMENT_STATUS_PENDING);
  EXPECT_EQ(asked, 0);
  // A pause ends the building, and so does a deletion.
  ASSERT_TRUE(Pause("paid", &stored).ok());
  EXPECT_EQ(asked, 1);
  ASSERT_TRUE(Delete({"paid"}).ok());
  EXPECT_EQ(asked, 2);
}

// Of a partition that is being restored it is not known at first.
TEST_F(SegmentServiceTest, NoCallGoesOnWaitingForABuild) {
  v1::Segment segment = Created(Live("paid", "Paid"));
  int asked = 0;
  log_.on_wait = [&](absl::Time deadline) {
    ++asked;
    log_.waits_for_build = true;
    clock_.AdvanceTo(deadline);
    return false;
  };
  v1::Segment stored;
  segment.set_name("Paid, too");
  ASSERT_TRUE(Update(segment, &stored).ok());
  EXPECT_EQ(stored.status(), v1::SEGMENT_STATUS_PENDING);
  EXPECT_EQ(asked, 1);
}

TEST_F(SegmentServiceTest, AFailedWriteIsTold) {
  log_.before_append = [] { return absl::UnavailableError("no broker; retry"); };
  v1::Segment stored;
  const grpc::Status status = Create(Live("paid", "Paid"), &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "no broker; retry");
  // The turn was given back.
  log_.before_append = nullptr;
  EXPECT_TRUE(Create(Live("paid", "Paid"), &stored).ok());
}

TEST_F(SegmentServiceTest, ACancelledWaitEnds) {
  grpc::ClientContext context;
  log_.on_wait = [&](absl::Time) {
    context.TryCancel();
    return false;
  };
  v1::CreateSegmentRequest request;
  *request.mutable_segment() = Live("paid", "Paid");
  v1::Segment stored;
  EXPECT_EQ(stub_->CreateSegment(&context, request, &stored).error_code(),
            grpc::StatusCode::CANCELLED);
  // Waits for the handler, which the clock would never end.
  server_->Shutdown();
}

TEST_F(SegmentServiceTest, GetNamesWhatIsMissing) {
  v1::Segment segment;
  grpc::Status status = Get("paid", &segment);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("\"paid\""));
  EXPECT_EQ(Get("", &segment).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SegmentServiceTest, UpdateMakesANewVersion) {
  v1::Segment first;
  ASSERT_TRUE(Create(Live("paid", "Paid"), &first, "ada").ok());
  clock_.Advance(absl::Minutes(1));
  v1::Segment wanted = first;
  wanted.mutable_live()->mutable_actions()->mutable_any_of(0)->set_event("Refunded");
  v1::Segment second;
  ASSERT_TRUE(Update(wanted, &second, "bob").ok());
  EXPECT_EQ(second.version(), 2);
  EXPECT_NE(second.etag(), first.etag());
  EXPECT_EQ(second.created_by(), "ada");
  EXPECT_EQ(second.updated_by(), "bob");
  EXPECT_EQ(second.create_time().seconds(), first.create_time().seconds());
  EXPECT_EQ(second.update_time().seconds(), first.update_time().seconds() + 60);

  const grpc::Status status = Update(wanted, &second);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("version 2"));
}

TEST_F(SegmentServiceTest, UpdateThatChangesNothingWritesNothing) {
  const v1::Segment first = Created(Live("paid", "Paid"));
  v1::Segment second;
  ASSERT_TRUE(Update(first, &second, "bob").ok());
  EXPECT_EQ(second.SerializeAsString(), first.SerializeAsString());
  EXPECT_THAT(log_.appended(), ElementsAre("paid"));
}

TEST_F(SegmentServiceTest, UpdateNeedsIdAndEtag) {
  const v1::Segment first = Created(Live("paid", "Paid"));
  v1::Segment wanted = first;
  wanted.clear_etag();
  v1::Segment stored;
  grpc::Status status = Update(wanted, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("GetSegment"));
  wanted = first;
  wanted.clear_id();
  EXPECT_EQ(Update(wanted, &stored).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  wanted.set_id("nobody");
  EXPECT_EQ(Update(wanted, &stored).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SegmentServiceTest, UpdateRefusesWhatCreateRefuses) {
  v1::Segment wanted = Created(Live("paid", "Paid"));
  wanted.clear_name();
  v1::Segment stored;
  EXPECT_EQ(Update(wanted, &stored).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  v1::Segment deleting = Live("gone", "Gone");
  deleting.set_status(v1::SEGMENT_STATUS_DELETING);
  deleting.set_etag("e");
  log_.Put(deleting);
  EXPECT_EQ(Update(deleting, &stored).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(SegmentServiceTest, UpdateCannotChangeTheKind) {
  v1::Segment wanted = Created(Live("paid", "Paid"));
  wanted.mutable_past_behavior()->mutable_did()->set_event("Charged");
  v1::Segment stored;
  const grpc::Status status = Update(wanted, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("the segment is of the kind live"));
}

TEST_F(SegmentServiceTest, ShadowBeginsAtCreationOnly) {
  v1::Segment wanted = Live("paid", "Paid");
  wanted.set_shadow(true);
  wanted.set_max_changes_per_minute(100);
  v1::Segment segment = Created(wanted);
  EXPECT_TRUE(segment.shadow());
  EXPECT_EQ(segment.max_changes_per_minute(), 100);
  segment.set_max_changes_per_minute(200);
  v1::Segment stored;
  ASSERT_TRUE(Update(segment, &stored).ok());
  EXPECT_TRUE(stored.shadow());
  EXPECT_EQ(stored.max_changes_per_minute(), 200);
  stored.set_shadow(false);
  ASSERT_TRUE(Update(stored, &segment).ok());
  EXPECT_FALSE(segment.shadow());
  EXPECT_EQ(segment.version(), 3);

  segment.set_shadow(true);
  const grpc::Status status = Update(segment, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("shadow: can only be set at creation"));
  segment.set_shadow(false);
  segment.set_max_changes_per_minute(-1);
  EXPECT_THAT(Update(segment, &stored).error_message(), HasSubstr("max_changes_per_minute: must"));

  ASSERT_TRUE(Clone("paid", "copy", "", &stored).ok());
  EXPECT_EQ(stored.max_changes_per_minute(), 200);
}

TEST_F(SegmentServiceTest, PauseAndResumeAreVersions) {
  v1::Segment wanted = Live("paid", "Paid");
  // Not for the caller of Create to say.
  wanted.set_paused(true);
  const v1::Segment segment = Created(wanted);
  EXPECT_FALSE(segment.paused());

  v1::Segment paused;
  ASSERT_TRUE(Pause("paid", &paused).ok());
  EXPECT_TRUE(paused.paused());
  EXPECT_EQ(paused.version(), 2);
  EXPECT_NE(paused.etag(), segment.etag());
  EXPECT_EQ(paused.live().SerializeAsString(), segment.live().SerializeAsString());
  EXPECT_EQ(paused.create_time().seconds(), segment.create_time().seconds());
  v1::Segment again;
  ASSERT_TRUE(Pause("paid", &again).ok());
  EXPECT_EQ(again.SerializeAsString(), paused.SerializeAsString());
  EXPECT_EQ(log_.appended().size(), 2u);

  // An update of before is refused, one of now keeps it paused, whatever it says.
  v1::Segment update = segment;
  update.set_name("Paid up");
  EXPECT_EQ(Update(update, &again).error_code(), grpc::StatusCode::ABORTED);
  update.set_etag(paused.etag());
  ASSERT_TRUE(Update(update, &again).ok());
  EXPECT_TRUE(again.paused());
  EXPECT_EQ(again.version(), 3);

  v1::Segment resumed;
  ASSERT_TRUE(Resume("paid", &resumed).ok());
  EXPECT_FALSE(resumed.paused());
  EXPECT_EQ(resumed.version(), 4);
  EXPECT_EQ(resumed.name(), "Paid up");
  ASSERT_TRUE(Resume("paid", &again).ok());
  EXPECT_EQ(again.version(), 4);
}

TEST_F(SegmentServiceTest, ResumeAfterTheGuardIsAVersion) {
  v1::Segment guarded = Created(Live("paid", "Paid"));
  guarded.set_status(v1::SEGMENT_STATUS_PAUSED);
  guarded.set_status_detail("more than max_changes_per_minute");
  log_.Put(guarded);
  v1::Segment resumed;
  ASSERT_TRUE(Resume("paid", &resumed).ok());
  EXPECT_FALSE(resumed.paused());
  EXPECT_EQ(resumed.version(), 2);
  EXPECT_EQ(resumed.status(), v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(resumed.status_detail(), "");

  log_.Put(guarded);
  ASSERT_TRUE(Pause("paid", &resumed).ok());
  EXPECT_TRUE(resumed.paused());
}

TEST_F(SegmentServiceTest, AnUpdateKeepsThePauseOfTheGuard) {
  v1::Segment guarded = Created(Live("paid", "Paid"));
  guarded.set_status(v1::SEGMENT_STATUS_PAUSED);
  guarded.set_status_detail("more than max_changes_per_minute");
  log_.Put(guarded);
  v1::Segment update = guarded;
  update.set_max_changes_per_minute(10);
  v1::Segment updated;
  ASSERT_TRUE(Update(update, &updated).ok());
  EXPECT_EQ(updated.version(), 2);
  EXPECT_TRUE(updated.paused());

  v1::Segment resumed;
  ASSERT_TRUE(Resume("paid", &resumed).ok());
  EXPECT_EQ(resumed.version(), 3);
  EXPECT_FALSE(resumed.paused());
  EXPECT_EQ(resumed.max_changes_per_minute(), 10);
  // By this the partitions know that the pause has ended, whichever versions they see.
  EXPECT_EQ(resumed.resumed_version(), 3);
  update.set_etag(resumed.etag());
  update.set_max_changes_per_minute(20);
  ASSERT_TRUE(Update(update, &updated).ok());
  EXPECT_EQ(updated.resumed_version(), 3);
}

TEST_F(SegmentServiceTest, WhatCannotBePaused) {
  v1::Segment stored;
  EXPECT_EQ(Pause("", &stored).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Pause("nobody", &stored).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Resume("nobody", &stored).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::Segment deleting = Live("gone", "Gone");
  deleting.set_status(v1::SEGMENT_STATUS_DELETING);
  log_.Put(deleting);
  EXPECT_EQ(Pause("gone", &stored).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::Segment unread;
  unread.set_id("unread");
  unread.set_status(v1::SEGMENT_STATUS_INVALID);
  log_.Put(unread);
  const grpc::Status status = Pause("unread", &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("update or delete it"));
}

// As the log shows what somebody wrote into the topic: what can't be read has its ID only.
v1::Segment Unreadable(const std::string& id) {
  v1::Segment segment;
  segment.set_id(id);
  segment.set_etag("offset-7");
  segment.set_status(v1::SEGMENT_STATUS_INVALID);
  segment.set_status_detail("the stored record can't be read: it is no JSON");
  return segment;
}

v1::Segment Unrunnable(const std::string& id) {
  v1::Segment segment = Live(id, "Empty");
  segment.mutable_live()->clear_actions();
  segment.set_version(4);
  segment.set_etag("offset-8");
  segment.set_status(v1::SEGMENT_STATUS_INVALID);
  segment.set_status_detail("live: one of actions, inaction is required");
  return segment;
}

TEST_F(SegmentServiceTest, AnInvalidSegmentIsShownWithTheReason) {
  log_.Put(Unreadable("garbage"));
  log_.Put(Unrunnable("empty"));
  v1::Segment shown;
  ASSERT_TRUE(Get("garbage", &shown).ok());
  EXPECT_EQ(shown.status(), v1::SEGMENT_STATUS_INVALID);
  EXPECT_THAT(shown.status_detail(), HasSubstr("it is no JSON"));
  EXPECT_FALSE(shown.has_create_time());
  EXPECT_FALSE(shown.has_update_time());
  v1::ListSegmentsRequest request;
  request.add_statuses(v1::SEGMENT_STATUS_INVALID);
  EXPECT_THAT(Listed(request), ElementsAre("empty", "garbage"));
}

TEST_F(SegmentServiceTest, AnInvalidSegmentIsNeitherPausedNorResumedNorCloned) {
  log_.Put(Unreadable("garbage"));
  log_.Put(Unrunnable("empty"));
  v1::Segment paused = Unrunnable("paused");
  paused.set_paused(true);
  log_.Put(paused);
  for (const std::string id : {"garbage", "empty", "paused"}) {
    v1::Segment stored;
    for (const grpc::Status& status : {Pause(id, &stored), Resume(id, &stored)}) {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << id;
      EXPECT_THAT(status.error_message(), HasSubstr("update or delete it")) << id;
    }
  }
  EXPECT_THAT(log_.appended(), IsEmpty());
  v1::Segment stored;
  const grpc::Status status = Clone("garbage", "new", "", &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("it is no JSON"));
}

TEST_F(SegmentServiceTest, AnUpdateMendsAnInvalidSegment) {
  log_.Put(Unreadable("garbage"));
  v1::Segment update = Live("garbage", "Mended");
  // Whether it was one before is not known: the tasks will tell.
  update.set_shadow(true);
  update.set_etag("another");
  v1::Segment mended;
  EXPECT_EQ(Update(update, &mended).error_code(), grpc::StatusCode::ABORTED);
  update.set_etag("offset-7");
  const grpc::Status status = Update(update, &mended);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(mended.status(), v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(mended.status_detail(), "");
  EXPECT_EQ(mended.version(), 1);
  // Nobody knows, so nobody says that it was in 1970.
  EXPECT_FALSE(mended.has_create_time());
  EXPECT_TRUE(mended.has_update_time());
}

TEST_F(SegmentServiceTest, AnUpdateToWhatCouldBeReadLastMendsToo) {
  v1::Segment hidden = Created(Live("paid", "Paid"));
  hidden.set_etag("offset-9");
  hidden.set_status(v1::SEGMENT_STATUS_INVALID);
  hidden.set_status_detail("the stored record can't be read: it is no JSON");
  log_.Put(hidden);
  v1::Segment mended;
  ASSERT_TRUE(Update(hidden, &mended).ok());
  EXPECT_EQ(mended.version(), 2);
  EXPECT_EQ(mended.status(), v1::SEGMENT_STATUS_ACTIVE);
}

TEST_F(SegmentServiceTest, OfARecordThatCannotBeRunNothingIsBelieved) {
  // By another segment's time of creation the tasks would take it for that, and remove the members.
  v1::Segment broken = Unrunnable("empty");
  broken.mutable_create_time()->set_seconds(7);
  broken.mutable_past_behavior();
  log_.Put(broken);
  v1::Segment update = Live("empty", "Mended");
  update.set_shadow(true);
  update.set_etag("offset-8");
  v1::Segment mended;
  const grpc::Status status = Update(update, &mended);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(mended.has_create_time());
  EXPECT_EQ(mended.version(), 5);
}

TEST_F(SegmentServiceTest, MendingDoesNotEndAPause) {
  v1::Segment broken = Unrunnable("empty");
  broken.set_paused(true);
  log_.Put(broken);
  v1::Segment update = Live("empty", "Mended");
  update.set_etag("offset-8");
  v1::Segment mended;
  ASSERT_TRUE(Update(update, &mended).ok());
  EXPECT_TRUE(mended.paused());
}

// What was written here and the tasks refuse is believed but for its kind: only they know which
// runs.
TEST_F(SegmentServiceTest, WhatTheTasksRefuseCanBecomeWhatTheyRun) {
  v1::Segment refused = Created(Live("a", "A"));
  const auto created = refused.create_time();
  refused.mutable_past_behavior()->mutable_did()->set_event("Charged");
  refused.set_status(v1::SEGMENT_STATUS_INVALID);
  log_.Put(refused);
  v1::Segment update = Live("a", "A");
  update.set_etag(refused.etag());
  v1::Segment mended;
  const grpc::Status status = Update(update, &mended);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(mended.create_time().seconds(), created.seconds());
}

TEST_F(SegmentServiceTest, AnInvalidSegmentCanBeDeleted) {
  log_.Put(Unreadable("garbage"));
  log_.Put(Unrunnable("empty"));
  EXPECT_TRUE(Delete({"garbage"}, "offset-7").ok());
  EXPECT_TRUE(Delete({"empty"}).ok());
  EXPECT_THAT(log_.All()->size(), 0u);
}

TEST_F(SegmentServiceTest, EstimateTellsProgressAndThenTheCount) {
  log_.Put(Live("paid", "Paid"));
  estimates_.on_estimate = [&](const v1::Segment& segment, const auto& report, int64_t* members,
                               int64_t* users) {
    EXPECT_EQ(segment.past_behavior().in_segment(), "paid");
    for (const double progress : {0.0, 0.5, 2.0}) {
      clock_.Advance(absl::Seconds(1));
      EXPECT_TRUE(report(progress));
      // Too soon after the last one.
      EXPECT_TRUE(report(progress));
    }
    *members = 7;
    *users = 9;
    return absl::OkStatus();
  };
  v1::Segment segment;
  segment.mutable_past_behavior()->set_in_segment("paid");
  std::vector<v1::EstimateSegmentResponse> responses;
  const grpc::Status status = Estimate(segment, &responses);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(responses.size(), 5u);
  EXPECT_EQ(responses[0].progress(), 0);
  EXPECT_EQ(responses[2].progress(), 0.5);
  EXPECT_EQ(responses[3].progress(), 1);
  EXPECT_FALSE(responses[3].has_members());
  EXPECT_EQ(responses[4].progress(), 1);
  EXPECT_EQ(responses[4].members(), 7);
  EXPECT_EQ(responses[4].users(), 9);
}

TEST_F(SegmentServiceTest, WhatCannotBeEstimated) {
  std::vector<v1::EstimateSegmentResponse> responses;
  grpc::Status status = Estimate(Live("", "Paid"), &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("live: can't be estimated"));
  EXPECT_EQ(Estimate({}, &responses).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  status = Estimate(InSegment("", "nobody"), &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("there is no segment \"nobody\""));
  EXPECT_THAT(responses, IsEmpty());

  estimates_.on_estimate = [](const auto&, const auto&, int64_t*, int64_t*) {
    return absl::UnavailableError("no broker");
  };
  status = Estimate(Past("", "Charged"), &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "no broker");

  SegmentService without(log_, clock_.function(), *access_);
  grpc::ServerBuilder builder;
  builder.RegisterService(&without.handlers());
  const auto server = builder.BuildAndStart();
  stub_ = v1::SegmentService::NewStub(server->InProcessChannel({}));
  status = Estimate(Past("", "Charged"), &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  stub_.reset();
  server->Shutdown();
}

TEST_F(SegmentServiceTest, AnEstimateEndsWithItsCallAndWithTheServer) {
  std::vector<v1::EstimateSegmentResponse> responses;
  int asked = 0;
  estimates_.on_estimate = [&](const auto&, const auto& report, int64_t*, int64_t*) {
    EXPECT_TRUE(report(0.1));
    ++asked;
    clock_.Advance(absl::Minutes(31));
    EXPECT_FALSE(report(0.2));
    return absl::CancelledError("told to stop");
  };
  EXPECT_EQ(Estimate(Past("", "Charged"), &responses).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  estimates_.on_estimate = [&](const auto&, const auto& report, int64_t*, int64_t*) {
    ++asked;
    service_->EndStreams();
    EXPECT_FALSE(report(0.2));
    return absl::CancelledError("told to stop");
  };
  EXPECT_EQ(Estimate(Past("", "Charged"), &responses).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(Estimate(Past("", "Charged"), &responses).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(asked, 2);
}

TEST_F(SegmentServiceTest, TwoEstimatesAtOnce) {
  std::promise<void> both;
  std::promise<void> go_on;
  std::shared_future<void> may_end = go_on.get_future().share();
  std::atomic<int> running = 0;
  estimates_.on_estimate = [&](const auto&, const auto&, int64_t*, int64_t*) {
    if (++running == kMaxEstimates) both.set_value();
    may_end.wait();
    return absl::OkStatus();
  };
  const auto estimate = [this] {
    std::vector<v1::EstimateSegmentResponse> responses;
    return Estimate(Past("", "Charged"), &responses).error_code();
  };
  std::vector<std::future<grpc::StatusCode>> allowed;
  allowed.reserve(kMaxEstimates);
  for (int i = 0; i < kMaxEstimates; ++i) {
    allowed.push_back(std::async(std::launch::async, estimate));
  }
  both.get_future().wait();
  EXPECT_EQ(estimate(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  go_on.set_value();
  for (auto& ended : allowed) EXPECT_EQ(ended.get(), grpc::StatusCode::OK);
  EXPECT_EQ(estimate(), grpc::StatusCode::OK);
}

TEST_F(SegmentServiceTest, ReferencesMustExistAndFormNoCycle) {
  std::vector<v1::Violation> violations = Validated(InSegment("a", "b"));
  const auto about = [&violations](const std::string& path) {
    std::string text;
    for (const v1::Violation& violation : violations) {
      if (violation.path() == path) text += violation.message() + "\n";
    }
    return text;
  };
  EXPECT_THAT(about("past_behavior.in_segment"), HasSubstr("there is no segment \"b\""));
  violations = Validated(InSegment("a", "a"));
  EXPECT_THAT(about("past_behavior.in_segment"), HasSubstr("a -> a"));

  log_.Put(InSegment("b", "c"));
  log_.Put(InSegment("c", "a"));
  v1::Segment nested;
  nested.set_id("a");
  nested.set_name("Nested");
  nested.mutable_past_behavior()->add_any_of()->mutable_did()->set_event("Charged");
  nested.mutable_past_behavior()->add_any_of()->mutable_not_()->set_in_segment("b");
  violations = Validated(nested);
  EXPECT_THAT(about("past_behavior.any_of[1].not.in_segment"), HasSubstr("a -> b -> c -> a"));

  // The whole cycle is named also when the update of a stored segment would close it.
  log_.Put(Live("e", "End"));
  log_.Put(InSegment("f", "e"));
  v1::Segment closing = Live("e", "End");
  closing.mutable_live()->mutable_filter()->mutable_not_()->set_in_segment("f");
  closing.set_etag("stored");
  v1::Segment end = Live("e", "End");
  end.set_etag("stored");
  log_.Put(end);
  v1::Segment stored;
  const grpc::Status refused = Update(closing, &stored);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(),
              HasSubstr("live.filter.not.in_segment: makes the segment refer to itself: e -> f -> "
                        "e; references must not form a cycle"));
  // A new one can't be referred to yet, but by itself.
  EXPECT_THAT(Create(InSegment("g", "g"), &stored).error_message(), HasSubstr("g -> g"));
  EXPECT_EQ(Create(InSegment("g", "e"), &stored).error_code(), grpc::StatusCode::OK);
  EXPECT_THAT(Clone("g", "h", "", &stored).error_message(), IsEmpty());

  v1::Segment filtered = Live("d", "Filtered");
  filtered.mutable_live()->mutable_filter()->add_all_of()->set_in_segment("nobody");
  violations = Validated(filtered);
  EXPECT_THAT(about("live.filter.all_of[0].in_segment"),
              HasSubstr("there is no segment \"nobody\""));
}

// A writer that is held while it writes, so that what others do meanwhile is not left to luck.
class HeldWriter {
 public:
  explicit HeldWriter(MemoryDefinitionLog* log) {
    log->before_append = [this] {
      if (!held_.exchange(true)) {
        entered_.set_value();
        released_.get_future().wait();
      }
      return absl::OkStatus();
    };
  }
  void AwaitEntered() { entered_.get_future().wait(); }
  void Release() { released_.set_value(); }

 private:
  std::atomic<bool> held_ = false;
  std::promise<void> entered_;
  std::promise<void> released_;
};

TEST_F(SegmentServiceTest, TheSecondOfTwoEditsIsAborted) {
  const v1::Segment first = Created(Live("paid", "Paid"));
  HeldWriter held(&log_);
  const auto edit = [&](const std::string& name) {
    v1::Segment wanted = first;
    wanted.set_name(name);
    v1::Segment stored;
    return Update(wanted, &stored).error_code();
  };
  auto one = std::async(std::launch::async, edit, "One");
  held.AwaitEntered();
  // The first has read and checked, and is writing: the second, with the same etag, must not read
  // before that is done.
  auto two = std::async(std::launch::async, edit, "Two");
  EXPECT_EQ(two.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  held.Release();
  EXPECT_EQ(one.get(), grpc::StatusCode::OK);
  EXPECT_EQ(two.get(), grpc::StatusCode::ABORTED);
  v1::Segment stored;
  ASSERT_TRUE(Get("paid", &stored).ok());
  EXPECT_EQ(stored.name(), "One");
  EXPECT_EQ(stored.version(), 2);
}

TEST_F(SegmentServiceTest, AWriterWaitsItsTurnUntilItsDeadlineOnly) {
  HeldWriter held(&log_);
  auto one = std::async(std::launch::async, [&] { return Created(Live("one", "One")).version(); });
  held.AwaitEntered();
  auto two = std::async(std::launch::async, [&] {
    v1::Segment stored;
    return Create(Live("two", "Two"), &stored).error_code();
  });
  grpc::ClientContext context;
  auto three = std::async(std::launch::async, [&] {
    v1::CreateSegmentRequest request;
    *request.mutable_segment() = Live("three", "Three");
    v1::Segment stored;
    return stub_->CreateSegment(&context, request, &stored).error_code();
  });
  // Readers don't wait.
  v1::Segment read;
  EXPECT_EQ(Get("one", &read).error_code(), grpc::StatusCode::NOT_FOUND);
  context.TryCancel();
  EXPECT_EQ(three.get(), grpc::StatusCode::CANCELLED);
  // Until the call that came in at whatever moment is over.
  while (two.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    clock_.Advance(absl::Seconds(61));
  }
  EXPECT_EQ(two.get(), grpc::StatusCode::DEADLINE_EXCEEDED);
  held.Release();
  one.get();
  EXPECT_THAT(log_.appended(), ElementsAre("one"));
}

TEST_F(SegmentServiceTest, NoEditIsLost) {
  Created(Live("paid", "0"));
  const auto increment = [this] {
    for (int i = 0; i < 50;) {
      v1::Segment segment;
      EXPECT_TRUE(Get("paid", &segment).ok());
      segment.set_name(absl::StrCat(std::stoi(segment.name()) + 1));
      v1::Segment stored;
      const grpc::Status status = Update(segment, &stored);
      if (status.ok()) {
        ++i;
      } else if (status.error_code() != grpc::StatusCode::ABORTED) {
        ADD_FAILURE() << status.error_message();
        return;
      }
    }
  };
  std::thread other(increment);
  increment();
  other.join();
  v1::Segment segment;
  ASSERT_TRUE(Get("paid", &segment).ok());
  EXPECT_EQ(segment.name(), "100");
  EXPECT_EQ(segment.version(), 101);
}

TEST_F(SegmentServiceTest, DeleteIsAllOrNothing) {
  Created(Live("a", "A"));
  Created(Live("b", "B"));
  grpc::Status status = Delete({"a", "x", "b", "y"});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("\"x\", \"y\""));
  EXPECT_THAT(Listed({}), ElementsAre("a", "b"));
  EXPECT_TRUE(Delete({"a", "b", "a"}).ok());
  EXPECT_THAT(Listed({}), IsEmpty());
}

TEST_F(SegmentServiceTest, DeleteTakes1To500) {
  EXPECT_EQ(Delete({}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::vector<std::string> ids;
  for (int i = 0; i < 501; ++i) {
    ids.push_back(absl::StrCat("s", i));
    log_.Put(Live(ids.back(), "Segment"));
  }
  EXPECT_EQ(Delete(ids).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ids.pop_back();
  EXPECT_TRUE(Delete(ids).ok());
  EXPECT_THAT(Listed({}), ElementsAre("s500"));
}

TEST_F(SegmentServiceTest, DeleteChecksTheEtag) {
  const v1::Segment stored = Created(Live("a", "A"));
  Created(Live("b", "B"));
  EXPECT_EQ(Delete({"a", "b"}, stored.etag()).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Delete({"a"}, "other").error_code(), grpc::StatusCode::ABORTED);
  EXPECT_TRUE(Delete({"a"}, stored.etag()).ok());
}

TEST_F(SegmentServiceTest, DeleteIsRefusedWhileReferredTo) {
  log_.Put(Live("base", "Base"));
  log_.Put(InSegment("middle", "base"));
  log_.Put(InSegment("top", "middle"));
  grpc::Status status = Delete({"base"});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("\"middle\" refers to \"base\""));
  status = Delete({"base", "middle"});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("\"top\" refers to \"middle\""));
  EXPECT_THAT(log_.appended(), IsEmpty());
  EXPECT_TRUE(Delete({"base", "top", "middle"}).ok());
  EXPECT_THAT(log_.appended(), ElementsAre("top", "middle", "base"));
}

TEST_F(SegmentServiceTest, CloneCopiesTheDefinition) {
  const v1::Segment original = Created(Live("paid", "Paid"));
  v1::Segment clone;
  ASSERT_TRUE(Clone("paid", "", "", &clone).ok());
  EXPECT_EQ(clone.name(), "Copy of Paid");
  EXPECT_NE(clone.id(), "paid");
  EXPECT_EQ(clone.version(), 1);
  EXPECT_EQ(clone.live().SerializeAsString(), original.live().SerializeAsString());
  ASSERT_TRUE(Clone("paid", "again", "Again", &clone).ok());
  EXPECT_EQ(clone.id(), "again");
  EXPECT_EQ(clone.name(), "Again");

  EXPECT_EQ(Clone("paid", "again", "", &clone).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Clone("nobody", "", "", &clone).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Clone("", "", "", &clone).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status status = Clone("paid", "No ID", "", &clone);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadRequestOf(status).at(0).field, "new_id");
}

TEST_F(SegmentServiceTest, ACloneOfALongNameFits) {
  std::string name;
  for (int i = 0; i < 200; ++i) name += "\xc3\xa9";
  Created(Live("paid", name));
  v1::Segment clone;
  ASSERT_TRUE(Clone("paid", "", "", &clone).ok());
  EXPECT_EQ(clone.name(), "Copy of " + name.substr(0, size_t{2} * 192));
}

TEST_F(SegmentServiceTest, ListSorts) {
  Created(Live("b", "alpha"));
  clock_.Advance(absl::Seconds(1));
  Created(Live("a", "Gamma"));
  clock_.Advance(absl::Seconds(1));
  v1::Segment c = Created(Live("c", "Beta"));
  clock_.Advance(absl::Seconds(1));
  v1::Segment b;
  ASSERT_TRUE(Get("b", &b).ok());
  b.set_name("Alpha");
  ASSERT_TRUE(Update(b, &b).ok());

  const auto by = [this](const std::string& order) {
    v1::ListSegmentsRequest request;
    request.set_order_by(order);
    // Pages of one, so that the positions between pages are tested too.
    request.set_page_size(1);
    return Listed(request);
  };
  EXPECT_THAT(by(""), ElementsAre("a", "b", "c"));
  EXPECT_THAT(by("id desc"), ElementsAre("c", "b", "a"));
  EXPECT_THAT(by("name"), ElementsAre("b", "c", "a"));
  EXPECT_THAT(by("name desc"), ElementsAre("a", "c", "b"));
  EXPECT_THAT(by("create_time"), ElementsAre("b", "a", "c"));
  EXPECT_THAT(by("update_time desc"), ElementsAre("b", "c", "a"));
  for (const char* wrong : {"dependents", "name asc", "name desc desc", "desc"}) {
    v1::ListSegmentsRequest request;
    request.set_order_by(wrong);
    v1::ListSegmentsResponse response;
    EXPECT_EQ(List(request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << wrong;
  }
}

TEST_F(SegmentServiceTest, ListFilters) {
  v1::Segment stored;
  ASSERT_TRUE(Create(Live("cart-left", "Left the C\xc3\x84RT"), &stored, "ada").ok());
  const auto early = stored.create_time();
  clock_.Advance(absl::Seconds(10));
  ASSERT_TRUE(Create(Live("paid", "Paid (50%)"), &stored, "bob").ok());
  v1::Segment past = InSegment("past", "paid");
  past.set_status(v1::SEGMENT_STATUS_BUILDING);
  *past.mutable_create_time() = stored.create_time();
  past.set_updated_by("bob");
  log_.Put(past);

  const auto with = [this](const auto& set) {
    v1::ListSegmentsRequest request;
    set(request);
    return Listed(request);
  };
  using Request = v1::ListSegmentsRequest;
  EXPECT_THAT(with([](Request& r) { r.set_search("c\xc3\xa4rt"); }), ElementsAre("cart-left"));
  EXPECT_THAT(with([](Request& r) { r.set_search("cart-l"); }), ElementsAre("cart-left"));
  EXPECT_THAT(with([](Request& r) { r.set_search("(50%)"); }), ElementsAre("paid"));
  EXPECT_THAT(with([](Request& r) { r.set_search(".*"); }), IsEmpty());
  EXPECT_THAT(with([](Request& r) { r.add_types(v1::PAST_BEHAVIOR); }), ElementsAre("past"));
  EXPECT_THAT(with([](Request& r) {
                r.add_types(v1::PAST_BEHAVIOR);
                r.add_types(v1::LIVE);
              }),
              ElementsAre("cart-left", "paid", "past"));
  EXPECT_THAT(with([](Request& r) { r.add_statuses(v1::SEGMENT_STATUS_ACTIVE); }),
              ElementsAre("cart-left", "paid"));
  EXPECT_THAT(with([](Request& r) { r.set_created_by("ada"); }), ElementsAre("cart-left"));
  EXPECT_THAT(with([](Request& r) { r.set_updated_by("bob"); }), ElementsAre("paid", "past"));
  EXPECT_THAT(with([&](Request& r) { *r.mutable_created_from() = stored.create_time(); }),
              ElementsAre("paid", "past"));
  EXPECT_THAT(with([&](Request& r) {
                *r.mutable_created_from() = early;
                *r.mutable_created_to() = stored.create_time();
              }),
              ElementsAre("cart-left"));

  Request wrong;
  v1::ListSegmentsResponse response;
  wrong.add_types(v1::SEGMENT_TYPE_UNSPECIFIED);
  wrong.add_statuses(static_cast<v1::SegmentStatus>(77));
  wrong.set_page_size(-1);
  wrong.set_search(std::string(801, 's'));
  const grpc::Status status = List(wrong, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadRequestOf(status).size(), 4u);
}

TEST_F(SegmentServiceTest, PagesNeitherRepeatNorSkip) {
  for (int i = 10; i < 20; ++i) log_.Put(Live(absl::StrCat("s", i), "Segment"));
  v1::ListSegmentsRequest request;
  request.set_page_size(4);
  v1::ListSegmentsResponse first;
  ASSERT_TRUE(List(request, &first).ok());
  EXPECT_EQ(first.total_size(), 10);
  ASSERT_EQ(first.segments_size(), 4);
  // Before the place where the page ended one comes; the last of the page and the one after it go.
  log_.Put(Live("s00", "Segment"));
  ASSERT_TRUE(Delete({"s13", "s14"}).ok());
  request.set_page_token(first.next_page_token());
  EXPECT_THAT(Listed(request), ElementsAre("s15", "s16", "s17", "s18", "s19"));
}

TEST_F(SegmentServiceTest, PageSizes) {
  for (int i = 0; i < 600; ++i) log_.Put(Live(absl::StrCat("s", i), "Segment"));
  const auto size = [this](int wanted) {
    v1::ListSegmentsRequest request;
    request.set_page_size(wanted);
    v1::ListSegmentsResponse response;
    EXPECT_TRUE(List(request, &response).ok());
    EXPECT_EQ(response.total_size(), 600);
    return response.segments_size();
  };
  EXPECT_EQ(size(0), 50);
  EXPECT_EQ(size(3), 3);
  EXPECT_EQ(size(500), 500);
  EXPECT_EQ(size(501), 500);
  v1::ListSegmentsRequest request;
  request.set_page_size(200);
  EXPECT_EQ(Listed(request).size(), 600u);
}

TEST_F(SegmentServiceTest, APageTokenFitsItsListOnly) {
  for (int i = 0; i < 5; ++i) log_.Put(Live(absl::StrCat("s", i), "Segment"));
  v1::ListSegmentsRequest request;
  request.set_page_size(2);
  v1::ListSegmentsResponse response;
  ASSERT_TRUE(List(request, &response).ok());
  const std::string token = response.next_page_token();

  const auto code = [&](const v1::ListSegmentsRequest& asked) {
    const grpc::Status status = List(asked, &response);
    if (!status.ok()) {
      EXPECT_EQ(BadRequestOf(status).at(0).field, "page_token");
    }
    return status.error_code();
  };
  request.set_page_token(token);
  request.set_page_size(3);
  EXPECT_EQ(code(request), grpc::StatusCode::OK);
  request.set_search("s");
  EXPECT_EQ(code(request), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_search();
  request.set_order_by("name");
  EXPECT_EQ(code(request), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_order_by();
  for (const std::string& wrong : {std::string("?"), std::string("AAAA"), token + "A",
                                   token.substr(1), std::string(5000, 'A')}) {
    request.set_page_token(wrong);
    EXPECT_EQ(code(request), grpc::StatusCode::INVALID_ARGUMENT) << wrong;
  }
  for (size_t i = 0; i < token.size(); ++i) {
    std::string wrong = token;
    wrong[i] = wrong[i] == 'B' ? 'C' : 'B';
    request.set_page_token(wrong);
    // The last character may hold bits that mean nothing.
    if (i + 1 == token.size()) break;
    EXPECT_EQ(code(request), grpc::StatusCode::INVALID_ARGUMENT) << wrong;
  }
}

TEST_F(SegmentServiceTest, ValidateTellsAllAndStoresNothing) {
  Created(Live("paid", "Paid"));
  EXPECT_THAT(Validated(Live("new", "New")), IsEmpty());
  EXPECT_THAT(Validated(Live("", "New")), IsEmpty());
  const std::vector<v1::Violation> violations = Validated(Live("paid", ""));
  ASSERT_EQ(violations.size(), 2u);
  EXPECT_EQ(violations[0].path(), "name");
  EXPECT_EQ(violations[1].path(), "id");
  EXPECT_THAT(violations[1].message(), HasSubstr("taken"));
  EXPECT_THAT(log_.appended(), ElementsAre("paid"));
}

TEST_F(SegmentServiceTest, RolesLimitWhatATokenMayDo) {
  const auto line = [](const std::string& role, const std::string& token) {
    return role + " " + absl::BytesToHexString(Sha256(token)) + "  # of a test\n";
  };
  absl::StatusOr<Access> access =
      Access::FromText("# tokens\n\n" + line("read", "r-token") + line("write", "w-token") +
                       line("admin", "a-token"));
  ASSERT_TRUE(access.ok()) << access.status();
  Start(*std::move(access));
  const auto code = [this](const std::string& authorization, bool write) {
    grpc::ClientContext context;
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    if (write) {
      v1::CreateSegmentRequest request;
      *request.mutable_segment() = Live("", "Paid");
      v1::Segment stored;
      return stub_->CreateSegment(&context, request, &stored).error_code();
    }
    v1::ListSegmentsResponse response;
    return stub_->ListSegments(&context, {}, &response).error_code();
  };
  for (const bool write : {false, true}) {
    EXPECT_EQ(code("", write), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(code("Bearer wrong", write), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(code("Basic w-token", write), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(code("Bearer w-token", write), grpc::StatusCode::OK);
    EXPECT_EQ(code("bearer a-token", write), grpc::StatusCode::OK);
  }
  EXPECT_EQ(code("Bearer r-token", false), grpc::StatusCode::OK);
  EXPECT_EQ(code("Bearer r-token", true), grpc::StatusCode::PERMISSION_DENIED);

  EXPECT_FALSE(Access::FromText("").ok());
  EXPECT_FALSE(Access::FromText("read secret\n").ok());
  EXPECT_FALSE(Access::FromText(line("owner", "x")).ok());
  EXPECT_EQ(Access::FromFile("/no/such/file").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace segmentd
