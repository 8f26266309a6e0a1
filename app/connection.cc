#include "app/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "app/console.h"
#include "app/tls_files.h"
#include "segment/absl_view.h"
#include "segment/time.h"

namespace segmentd {
namespace {

constexpr size_t kMaxTokenBytes = 1 << 20;

// What gRPC carries as the value of metadata that is not binary; it ends the program at anything
// else.
bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// Whether somebody was there and went away before a word of gRPC, by the words of the client
// library. That is all one hears of a server that wants TLS or a certificate; what is wrong with
// its own certificate is told as a handshake.
bool HungUp(const std::string& message) {
  return message.starts_with("failed to connect") &&
         !absl::StrContains(message, "Connection refused") &&
         !absl::StrContains(message, "handshake failed");
}

}  // namespace

absl::StatusOr<Connection> Connection::Open(const GlobalOptions& options) {
  Connection connection;
  connection.server_ = options.server;
  connection.user_ = options.user;
  if (std::any_of(options.user.begin(), options.user.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError(
        "--user (SEGCTL_USER): line ends, tabs and other control characters are not allowed");
  }
  connection.timeout_ = absl::Milliseconds(options.timeout.millis());
  if (!options.token_file.empty()) {
    const absl::StatusOr<std::string> token = ReadWhole(options.token_file, kMaxTokenBytes);
    if (!token.ok()) return token.status();
    const absl::string_view bare = absl::StripAsciiWhitespace(*token);
    if (bare.empty() || !IsPrintableAscii(StdView(bare)) || absl::StrContains(bare, ' ')) {
      return absl::InvalidArgumentError(
          absl::StrCat("--token-file: ", options.token_file,
                       " must hold one token, of printable ASCII characters without spaces"));
    }
    connection.authorization_ = absl::StrCat("Bearer ", bare);
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (options.tls_ca.empty() && options.tls_cert.empty() && options.tls_key.empty()) {
    if (!connection.authorization_.empty() && !options.server.starts_with("127.0.0.1:") &&
        !options.server.starts_with("localhost:")) {
      return absl::InvalidArgumentError(
          "a token is not sent unencrypted to another machine: give --tls-ca too");
    }
    credentials = grpc::InsecureChannelCredentials();
    connection.tls_hint_ = "If it serves TLS, give --tls-ca.";
  } else {
    absl::StatusOr<TlsFiles> files = TlsFiles::Read({.ca_option = "--tls-ca",
                                                     .ca = options.tls_ca,
                                                     .certificate = options.tls_cert,
                                                     .key = options.tls_key});
    if (!files.ok()) return files.status();
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = std::move(files->ca);
    tls.pem_cert_chain = std::move(files->certificate);
    tls.pem_private_key = std::move(files->key);
    credentials = grpc::SslCredentials(tls);
    if (options.tls_cert.empty()) {
      connection.tls_hint_ = "If it asks for a certificate, give --tls-cert and --tls-key.";
    }
  }
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix(absl::StrCat("segctl/", SEGMENTD_VERSION));
  connection.channel_ = grpc::CreateCustomChannel(options.server, credentials, arguments);
  return connection;
}

void Connection::prepare(grpc::ClientContext& context, bool bounded) const {
  if (bounded) context.set_deadline(absl::ToChronoTime(absl::Now() + timeout_));
  if (!user_.empty()) {
    context.AddMetadata(IsPrintableAscii(user_) ? "x-user" : "x-user-bin", user_);
  }
  if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
}

bool Connection::Unreached(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         (status.error_message().starts_with("failed to connect") ||
          status.error_message().starts_with("DNS resolution failed"));
}

ExitStatus Connection::complain(const grpc::Status& status, const std::string& place) const {
  std::string about = status.error_message();
  if (!place.empty()) {
    about = absl::StrCat(place, ": ",
                         absl::StrReplaceAll(about, {{"\n", absl::StrCat("\n", place, ": ")}}));
  }
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return kDone;
    case grpc::StatusCode::NOT_FOUND:
      return Complain(kNo, about);
    // Whatever the file says.
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return Complain(kWrongUse, status.error_message());
    case grpc::StatusCode::UNAVAILABLE: {
      std::string message = absl::StrCat(server_, ": ", status.error_message());
      if (Unreached(status)) {
        message += "\nIs segmentd running there? --server or SEGCTL_SERVER names another.";
      }
      if (!tls_hint_.empty() && HungUp(status.error_message())) {
        absl::StrAppend(&message, "\n", tls_hint_);
      }
      return Complain(kUnavailable, message);
    }
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Complain(kUnavailable,
                      absl::StrCat(server_, ": no answer within ", absl::FormatDuration(timeout_),
                                   ": ", status.error_message()));
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DATA_LOSS:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Complain(kUnavailable, absl::StrCat(server_, ": ", status.error_message()));
    default:
      return Complain(kWrongUse, about);
  }
}

}  // namespace segmentd
