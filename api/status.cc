#include "api/status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

#include "proto/segments/v1/segment_service.pb.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr std::string_view kBadRequest = "type.googleapis.com/google.rpc.BadRequest";
// Of the 8 KiB of trailers: the message as it is sent (percent-encoded), and the details before
// their base64.
constexpr size_t kMessageLimit = 3 << 10;
constexpr size_t kDetailsLimit = 2 << 10;
constexpr size_t kViolationLimit = 512;

// The bytes that a character of grpc-message takes: "%0A" for anything but printable ASCII.
size_t SentSize(char c) {
  return c < 0x20 || c > 0x7e || c == '%' ? 3 : 1;
}

size_t SentSize(std::string_view text) {
  size_t size = 0;
  for (char c : text) size += SentSize(c);
  return size;
}

// Cut at a character's boundary.
std::string Cut(std::string_view text, size_t sent_limit) {
  size_t sent = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    sent += SentSize(text[i]);
    if (sent <= sent_limit) continue;
    size_t end = i;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    return absl::StrCat(AbslView(text.substr(0, end)), "...");
  }
  return std::string(text);
}

// google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3;
// }, written by its wire format: no package for C++ has the message.
std::string SerializedStatus(int code, const std::string& message,
                             const std::vector<google::protobuf::Any>& details) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.WriteTag(1 << 3 | 0);
    out.WriteVarint32(static_cast<uint32_t>(code));
    const auto field = [&out](uint32_t number, const std::string& value) {
      out.WriteTag(number << 3 | 2);
      out.WriteVarint32(static_cast<uint32_t>(value.size()));
      out.WriteString(value);
    };
    field(2, message);
    for (const google::protobuf::Any& detail : details) field(3, detail.SerializeAsString());
  }
  return bytes;
}

}  // namespace

absl::Status ViolationsError(const std::vector<Violation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  std::string text;
  size_t text_size = 0;
  // The same on the wire as google.rpc.BadRequest { repeated FieldViolation { string field = 1;
  // string description = 2; } = 1; }
  segments::v1::ValidateSegmentResponse bad_request;
  size_t told = 0;
  for (const Violation& violation : violations) {
    const std::string message = Cut(violation.message, kViolationLimit);
    const std::string path = Cut(violation.path, kViolationLimit);
    const std::string line = path.empty() ? message : absl::StrCat(path, ": ", message);
    // Room is left for the line that counts the rest.
    text_size += SentSize(line) + 3;
    if (text_size + 100 > kMessageLimit) break;
    absl::StrAppend(&text, told == 0 ? "" : "\n", line);
    ++told;
    segments::v1::Violation* field = bad_request.add_violations();
    field->set_path(path);
    field->set_message(message);
    if (bad_request.ByteSizeLong() > kDetailsLimit) bad_request.mutable_violations()->RemoveLast();
  }
  if (told < violations.size()) {
    absl::StrAppend(&text, "\nand ", violations.size() - told, " more; ValidateSegment tells all");
  }
  const bool unimplemented = std::all_of(violations.begin(), violations.end(),
                                         [](const Violation& v) { return v.unimplemented; });
  absl::Status status(
      unimplemented ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInvalidArgument, text);
  status.SetPayload(AbslView(kBadRequest), absl::Cord(bad_request.SerializeAsString()));
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // Both count as google.rpc.Code does.
  const int code = static_cast<int>(status.code());
  const std::string message = Cut(StdView(status.message()), kMessageLimit);
  std::vector<google::protobuf::Any> details;
  status.ForEachPayload([&details](absl::string_view type, const absl::Cord& bytes) {
    details.emplace_back();
    details.back().set_type_url(std::string(type));
    details.back().set_value(std::string(bytes));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(code), message,
                      details.empty() ? "" : SerializedStatus(code, message, details));
}

}  // namespace segmentd
