// The gRPC server: where it listens, who may reach it, and how it ends.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "api/membership_service.h"
#include "api/segment_service.h"

namespace segmentd {

// Of one message. Uploads are streamed, so that none needs more.
inline constexpr int kMaxReceivedBytes = 1 << 20;

// Each in PEM.
struct ServerTls {
  // The server's own first, then those of the authorities between it and the root.
  std::string certificate;
  std::string key;
  // The authorities whose client certificates are accepted. Clients without such a certificate are
  // refused in the handshake.
  std::string client_ca;
};

struct ServerOptions {
  // "host:port", "[::1]:port"; port 0 takes a free one. Off loopback only with TLS.
  std::string address = "127.0.0.1:7600";
  // All three parts of it, or none.
  std::optional<ServerTls> tls;
  // Calls at once, streams included, and some for the server itself.
  int max_threads = 160;
};

// Health is NOT_SERVING until SetServing(true), for "" and for both services.
class Server {
 public:
  // INVALID_ARGUMENT where the options are wrong, UNAVAILABLE when the address is taken or TLS
  // can't be had with these parts; the message says which option to set. The services outlive the
  // server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       SegmentService& segments,
                                                       MembershipService& memberships);
  // As Shutdown at once.
  ~Server();

  // The one listened on.
  int port() const { return port_; }

  // Readiness. Any thread.
  void SetServing(bool serving);

  // Ends the streams, takes no further calls, and gives those under way until `bound`; then they
  // are cancelled. A call that waits for a task notices at its own deadline, or when the tasks stop
  // answering with UNAVAILABLE.
  void Shutdown(absl::Duration bound);

 private:
  class Running;
  Server(std::unique_ptr<Running> running, SegmentService& segments, MembershipService& memberships,
         int port);

  std::unique_ptr<Running> running_;
  SegmentService& segments_;
  MembershipService& memberships_;
  int port_;
};

}  // namespace segmentd
