// Changes as records of topic `segment-membership-changes`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "proto/segments/v1/change.pb.h"
#include "proto/segments/v1/definition.pb.h"
#include "segment/change.h"
#include "stream/io.h"

namespace segmentd {

enum class ChangeFormat : uint8_t { kJson, kProtobuf };

// "json" or "protobuf"; INVALID_ARGUMENT otherwise.
absl::StatusOr<ChangeFormat> ParseChangeFormat(std::string_view name);

// Writes the changes of one partition. Once its buffers have grown it allocates nothing.
class ChangeEncoder {
 public:
  // `topic`: that of the events, for the change's ID.
  ChangeEncoder(ChangeFormat format, std::string_view topic, Partition partition);

  // Appends the record's value. Bytes that are no UTF-8 become U+FFFD.
  void append(const Change& change, const segments::v1::Segment& segment, std::string_view user_id,
              int64_t number, std::string* out);

 private:
  void append_json(const Change& change, const segments::v1::Segment& segment,
                   std::string_view user_id, int64_t number, std::string* out) const;
  void append_protobuf(const Change& change, const segments::v1::Segment& segment,
                       std::string_view user_id, int64_t number, std::string* out);

  ChangeFormat format_;
  // "events-2:"
  std::string id_prefix_;
  segments::v1::MembershipChange message_;
};

// A record's value, JSON or protobuf by its first byte. INVALID_ARGUMENT says what is wrong.
absl::StatusOr<segments::v1::MembershipChange> DecodeChange(std::string_view value);

// "events-2:81734".
struct ChangeId {
  std::string_view topic;
  Partition partition = 0;
  int64_t number = 0;
};
// A view into `text`.
absl::StatusOr<ChangeId> ParseChangeId(std::string_view text);

}  // namespace segmentd
