#include "api/server.h"

#include <google/protobuf/message.h>
#include <grpc/support/time.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/rpc/error_details.pb.h"
#include "grpc/health/v1/health.pb.h"

namespace segmentd {
namespace {

constexpr int kMaxMetadataBytes = 8 << 10;
// Of calls' buffers over all connections.
constexpr size_t kBufferQuotaBytes = size_t{256} << 20;
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kMaxPingStrikes = 2;

struct HostPort {
  std::string host;
  int port;
};

absl::StatusOr<HostPort> ParseAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  absl::string_view host = address.substr(0, colon);
  int port = 0;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (colon == absl::string_view::npos || host.empty() ||
      (!bracketed && host.find(':') != absl::string_view::npos) ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", address,
                     ": write host:port, [IPv6 address]:port, or host:0 for any free port"));
  }
  if (bracketed) host = host.substr(1, host.size() - 2);
  return HostPort{std::string(host), port};
}

// By the name alone: a name that has to be looked up may lead anywhere.
bool IsLoopback(absl::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  const std::vector<absl::string_view> parts = absl::StrSplit(host, '.');
  return parts.size() == 4 && parts[0] == "127" &&
         std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
           int number = 0;
           return std::all_of(part.begin(), part.end(), absl::ascii_isdigit) &&
                  absl::SimpleAtoi(part, &number) && number <= 255;
         });
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const ServerOptions& options,
                                                                     const std::string& host) {
  if (!options.tls) {
    if (IsLoopback(host)) return grpc::InsecureServerCredentials();
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", options.address,
                     ": other machines may only connect by TLS with client certificates; set "
                     "--tls-cert, --tls-key and "
                     "--tls-client-ca, or listen on 127.0.0.1 or [::1]"));
  }
  if (options.tls->certificate.empty() || options.tls->key.empty() ||
      options.tls->client_ca.empty()) {
    return absl::InvalidArgumentError(
        "set all of --tls-cert, --tls-key and --tls-client-ca, or none of them: TLS is only "
        "served with "
        "verified client certificates");
  }
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_root_certs = options.tls->client_ca;
  tls.pem_key_cert_pairs.push_back({options.tls->key, options.tls->certificate});
  return grpc::SslServerCredentials(tls);
}

}  // namespace

class Server::Running {
 public:
  std::mutex mutex;
  std::unique_ptr<grpc::Server> server;
  bool ended = false;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      SegmentService& segments,
                                                      MembershipService& memberships) {
  absl::StatusOr<HostPort> address = ParseAddress(options.address);
  if (!address.ok()) return address.status();
  auto credentials = Credentials(options, address->host);
  if (!credentials.ok()) return credentials.status();

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Reflection describes what is linked in.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  google::protobuf::LinkMessageReflection<google::rpc::BadRequest>();

  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("segmentd");
  quota.SetMaxThreads(options.max_threads);
  quota.Resize(kBufferQuotaBytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  // Otherwise two servers could listen on one port, each getting some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort(options.address, *std::move(credentials), &port);
  builder.RegisterService(&segments.handlers());
  builder.RegisterService(&memberships.handlers());

  auto running = std::make_unique<Running>();
  running->server = builder.BuildAndStart();
  if (running->server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat(
        "can't listen on ", options.address,
        options.tls ? ": is another server there, or are the files of --tls-cert, --tls-key and "
                      "--tls-client-ca of no use?"
                    : ": is another server there? Set --listen"));
  }
  std::unique_ptr<Server> server(new Server(std::move(running), segments, memberships, port));
  server->SetServing(false);
  return server;
}

Server::Server(std::unique_ptr<Running> running, SegmentService& segments,
               MembershipService& memberships, int port)
    : running_(std::move(running)), segments_(segments), memberships_(memberships), port_(port) {}

Server::~Server() {
  Shutdown(absl::ZeroDuration());
}

void Server::SetServing(bool serving) {
  const std::lock_guard lock(running_->mutex);
  if (running_->ended) return;
  grpc::HealthCheckServiceInterface* health = running_->server->GetHealthCheckService();
  // "" and the default of every service unknown to it; the others must be named.
  health->SetServingStatus(serving);
  for (const char* name : {"segments.v1.SegmentService", "segments.v1.MembershipService"}) {
    health->SetServingStatus(name, serving);
  }
}

void Server::Shutdown(absl::Duration bound) {
  SetServing(false);
  {
    const std::lock_guard lock(running_->mutex);
    if (std::exchange(running_->ended, true)) return;
  }
  segments_.EndStreams();
  memberships_.EndStreams();
  running_->server->Shutdown(gpr_time_from_millis(absl::ToInt64Milliseconds(bound), GPR_TIMESPAN));
}

}  // namespace segmentd
