#include "api/server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "proto/segments/v1/membership_service.grpc.pb.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "tests/unit/identity.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_change_feed.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/memory_queries.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;
using testing::HasSubstr;

class ServerTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_UNDER_THREAD_SANITIZER(); }

  absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options) {
    return Server::Start(options, segments_, memberships_);
  }
  std::unique_ptr<Server> Started(int max_threads = 160) {
    ServerOptions options;
    options.address = "127.0.0.1:0";
    options.max_threads = max_threads;
    auto server = Start(options);
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }

  static std::shared_ptr<grpc::Channel> Connect(
      int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                    grpc::InsecureChannelCredentials()) {
    grpc::ChannelArguments arguments;
    // A connection of its own: others of this process have other settings, and some are broken on
    // purpose.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), credentials, arguments);
  }

  // Sends one message and reads one, as bytes: there are no generated classes for the standard
  // services.
  static std::string Exchange(int port, const std::string& method, const std::string& request) {
    grpc::GenericStub stub(Connect(port));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::CompletionQueue queue;
    const auto done = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    auto stream = stub.PrepareCall(&context, method, &queue);
    stream->StartCall(nullptr);
    EXPECT_TRUE(done());
    grpc::Slice sent(request);
    stream->Write(grpc::ByteBuffer(&sent, 1), nullptr);
    EXPECT_TRUE(done());
    grpc::ByteBuffer received;
    stream->Read(&received, nullptr);
    EXPECT_TRUE(done());
    std::string bytes;
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(received.Dump(&slices).ok());
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    stream->WritesDone(nullptr);
    done();
    grpc::Status status;
    stream->Finish(&status, nullptr);
    EXPECT_TRUE(done());
    EXPECT_TRUE(status.ok()) << status.error_message();
    return bytes;
  }

  // grpc.health.v1.HealthCheckResponse.status
  static int Health(int port, const std::string& service) {
    const std::string request =
        service.empty()
            ? ""
            : absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
    const std::string response = Exchange(port, "/grpc.health.v1.Health/Check", request);
    EXPECT_EQ(response.size(), 2u);
    return response.back();
  }

  static grpc::Status List(const std::shared_ptr<grpc::Channel>& channel, size_t search_bytes = 0,
                           size_t metadata_bytes = 0) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    if (metadata_bytes > 0) context.AddMetadata("x-user", std::string(metadata_bytes, 'u'));
    v1::ListSegmentsRequest request;
    request.set_search(std::string(search_bytes, 's'));
    v1::ListSegmentsResponse response;
    return v1::SegmentService::NewStub(channel)->ListSegments(&context, request, &response);
  }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  MemoryQueries queries_;
  MemoryChangeFeed feed_;
  const Access access_ = Access::Open();
  SegmentService segments_{log_, clock_.function(), access_};
  MembershipService memberships_{queries_, log_, feed_, clock_.function(), access_};
};

constexpr int kServing = 1;
constexpr int kNotServing = 2;

TEST_F(ServerTest, HealthFollowsReadiness) {
  const auto server = Started();
  for (const char* name : {"", "segments.v1.SegmentService", "segments.v1.MembershipService"}) {
    EXPECT_EQ(Health(server->port(), name), kNotServing) << name;
  }
  server->SetServing(true);
  for (const char* name : {"", "segments.v1.SegmentService", "segments.v1.MembershipService"}) {
    EXPECT_EQ(Health(server->port(), name), kServing) << name;
  }
  server->SetServing(false);
  EXPECT_EQ(Health(server->port(), ""), kNotServing);
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  const auto server = Started();
  // ServerReflectionRequest { list_services: "*" }
  const std::string response =
      Exchange(server->port(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
               "\x3a\x01*");
  EXPECT_THAT(response, HasSubstr("segments.v1.SegmentService"));
  EXPECT_THAT(response, HasSubstr("segments.v1.MembershipService"));
  EXPECT_THAT(response, HasSubstr("grpc.health.v1.Health"));
  // { file_containing_symbol: "segments.v1.Segment" }
  EXPECT_THAT(
      Exchange(server->port(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
               "\x22\x13segments.v1.Segment"),
      HasSubstr("past_behavior"));
}

TEST_F(ServerTest, ReflectionDescribesHealthAndTheDetailsOfErrors) {
  const auto server = Started();
  // { file_containing_symbol: "..." }
  const auto describe = [&](const std::string& symbol) {
    return Exchange(server->port(),
                    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                    absl::StrCat("\x22", std::string(1, static_cast<char>(symbol.size())), symbol));
  };
  EXPECT_THAT(describe("grpc.health.v1.Health"),
              AllOf(HasSubstr("HealthCheckRequest"), HasSubstr("NOT_SERVING")));
  EXPECT_THAT(describe("google.rpc.BadRequest"),
              AllOf(HasSubstr("FieldViolation"), HasSubstr("description")));
}

TEST_F(ServerTest, OffLoopbackNeedsTls) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.0.2.1:9090", "example.org:9090",
                              "127.0.0.1.example.org:9090", "127.0.0.256:1"}) {
    ServerOptions options;
    options.address = address;
    const absl::Status status = Start(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    for (const char* option : {"--listen", "--tls-cert", "--tls-key", "--tls-client-ca"}) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(option));
    }
  }
  for (const char* address : {"127.0.0.1:0", "127.1.2.3:0", "localhost:0"}) {
    ServerOptions options;
    options.address = address;
    EXPECT_TRUE(Start(options).ok()) << address;
  }
}

TEST_F(ServerTest, WrongAddressesAreRefused) {
  for (const char* address : {"", "127.0.0.1", ":9090", "127.0.0.1:", "127.0.0.1:http",
                              "127.0.0.1:65536", "127.0.0.1:-1", "::1:9090", "unix:/tmp/socket"}) {
    ServerOptions options;
    options.address = address;
    EXPECT_EQ(Start(options).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST_F(ServerTest, ATakenPortIsRefused) {
  const auto server = Started();
  ServerOptions options;
  options.address = absl::StrCat("127.0.0.1:", server->port());
  EXPECT_EQ(Start(options).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ServerTest, MessagesAndMetadataAreLimited) {
  const auto server = Started();
  const auto channel = Connect(server->port());
  EXPECT_TRUE(List(channel).ok());
  // Read, and then found too long by the service.
  EXPECT_EQ(List(channel, (1 << 20) - 100).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(List(channel, 1 << 20).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(List(channel, 0, 7000).ok());
  EXPECT_FALSE(List(channel, 0, 9000).ok());
  // That may have cost the client its connection, but nothing else.
  EXPECT_TRUE(List(Connect(server->port())).ok());
}

TEST_F(ServerTest, ShutdownEndsTheStreamsAndTheServer) {
  auto server = Started();
  const auto channel = Connect(server->port());
  const auto stub = v1::MembershipService::NewStub(channel);
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, {});
  feed_.AwaitFollowers(1);
  // Long enough for the stream to end by itself.
  server->Shutdown(absl::Minutes(5));
  v1::WatchResponse response;
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(List(channel).error_code(), grpc::StatusCode::UNAVAILABLE);
  // Once more does nothing; the address is free again.
  server->Shutdown(absl::Minutes(5));
  server->SetServing(true);
  ServerOptions options;
  options.address = absl::StrCat("127.0.0.1:", server->port());
  EXPECT_TRUE(Start(options).ok());
}

TEST_F(ServerTest, ShutdownCancelsWhatOutlastsItsBound) {
  auto server = Started();
  std::promise<void> waiting;
  std::atomic<bool> told = false;
  log_.on_wait = [&](absl::Time) {
    if (!told.exchange(true)) waiting.set_value();
    return false;
  };
  const auto channel = Connect(server->port());
  std::thread client([&] {
    grpc::ClientContext context;
    v1::CreateSegmentRequest request;
    request.mutable_segment()->set_id("paid");
    request.mutable_segment()->set_name("Paid");
    request.mutable_segment()->mutable_live()->mutable_actions()->add_any_of()->set_event(
        "Charged");
    v1::Segment stored;
    EXPECT_FALSE(
        v1::SegmentService::NewStub(channel)->CreateSegment(&context, request, &stored).ok());
  });
  waiting.get_future().wait();
  // The call's own deadline never comes, for the clock stands still.
  server->Shutdown(absl::Milliseconds(1));
  client.join();
}

TEST_F(ServerTest, AllWatchesLeaveRoomForOtherCalls) {
  const auto server = Started();
  const auto channel = Connect(server->port());
  const auto stub = v1::MembershipService::NewStub(channel);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchResponse>>> watches;
  for (int i = 0; i < StreamLimits().watches; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(stub->Watch(contexts.back().get(), {}));
  }
  feed_.AwaitFollowers(StreamLimits().watches);
  EXPECT_TRUE(List(channel).ok());
  server->Shutdown(absl::Minutes(5));
  for (const auto& watch : watches) EXPECT_FALSE(watch->Finish().ok());
}

TEST_F(ServerTest, CallsOverTheThreadsAreRefused) {
  feed_.Add(v1::MembershipChange());
  const auto server = Started(/*max_threads=*/8);
  const auto stub = v1::MembershipService::NewStub(Connect(server->port()));
  v1::WatchRequest request;
  (*request.mutable_from_change())[0] = 0;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchResponse>>> watches;
  for (int i = 0; i < 20; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(stub->Watch(contexts.back().get(), request));
  }
  int accepted = 0;
  for (const auto& watch : watches) {
    v1::WatchResponse response;
    if (watch->Read(&response)) {
      ++accepted;
    } else {
      EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    }
  }
  EXPECT_GE(accepted, 1);
  EXPECT_LE(accepted, 8);
  for (const auto& context : contexts) context->TryCancel();
}

class TlsTest : public ServerTest {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    options_.address = "0.0.0.0:0";
    options_.tls = {.certificate = server_.certificate_pem(),
                    .key = server_.key_pem(),
                    .client_ca = authority_.certificate_pem()};
  }

  grpc::Status ListAs(int port, const Identity* client) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = authority_.certificate_pem();
    if (client != nullptr) {
      tls.pem_cert_chain = client->certificate_pem();
      tls.pem_private_key = client->key_pem();
    }
    return List(Connect(port, grpc::SslCredentials(tls)));
  }

  const Identity authority_{"The authority", nullptr};
  const Identity server_{"The server", &authority_};
  ServerOptions options_;
};

TEST_F(TlsTest, OnlyClientsWithACertificateOfTheAuthorityComeIn) {
  auto server = Start(options_);
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  const Identity client("A client", &authority_);
  const grpc::Status status = ListAs(port, &client);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(ListAs(port, nullptr).error_code(), grpc::StatusCode::UNAVAILABLE);
  const Identity other_authority("The authority", nullptr);
  const Identity stranger("A stranger", &other_authority);
  EXPECT_EQ(ListAs(port, &stranger).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(List(Connect(port)).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, AllThreePartsAreNeeded) {
  for (std::string ServerTls::*part :
       {&ServerTls::certificate, &ServerTls::key, &ServerTls::client_ca}) {
    ServerOptions options = options_;
    (*options.tls.*part).clear();
    EXPECT_EQ(Start(options).status().code(), absl::StatusCode::kInvalidArgument);
    options.address = "127.0.0.1:0";
    EXPECT_EQ(Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  ServerOptions options = options_;
  options.tls->certificate = "no PEM";
  const absl::Status status = Start(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--tls-cert"));
}

}  // namespace
}  // namespace segmentd
