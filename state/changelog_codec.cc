#include "state/changelog_codec.h"

#include <climits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace segmentd {
namespace {

constexpr size_t kNumberBytes = 4;
constexpr size_t kKeyBytesShown = 80;

std::string Shown(std::string_view key) {
  const std::string_view first = key.substr(0, kKeyBytesShown);
  return absl::StrCat("\"", absl::CHexEscape({first.data(), first.size()}),
                      first.size() < key.size() ? "\"..." : "\"");
}

template <typename Message>
bool Parse(std::string_view value, Message* message) {
  return value.size() <= INT_MAX &&
         message->ParseFromArray(value.data(), static_cast<int>(value.size()));
}

// Maps in the order of their keys.
std::string Serialize(const google::protobuf::MessageLite& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializePartialToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

void PutNumber(uint32_t number, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(number >> shift & 0xff));
  }
}

// Of the first kNumberBytes.
uint32_t Number(std::string_view bytes) {
  uint32_t number = 0;
  for (char c : bytes.substr(0, kNumberBytes)) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

}  // namespace

void FormatChangelogKey(const ChangelogKey& key, std::string* out) {
  out->assign(1, static_cast<char>(key.kind));
  switch (key.kind) {
    case ChangelogKind::kUser:
      out->append(key.user);
      break;
    case ChangelogKind::kImagePart:
      PutNumber(key.part, out);
      out->append(key.user);
      break;
    case ChangelogKind::kDefinition:
      PutNumber(key.slot, out);
      break;
    case ChangelogKind::kTask:
      break;
  }
}

absl::StatusOr<ChangelogKey> ParseChangelogKey(std::string_view key) {
  if (key.empty()) return absl::DataLossError("changelog key without a kind");
  ChangelogKey parsed;
  const std::string_view id = key.substr(1);
  parsed.kind = static_cast<ChangelogKind>(key[0]);
  switch (parsed.kind) {
    case ChangelogKind::kUser:
      if (id.empty()) return absl::DataLossError("changelog key of a user without an ID");
      parsed.user = id;
      return parsed;
    case ChangelogKind::kImagePart:
      if (id.size() <= kNumberBytes || Number(id) == 0) {
        return absl::DataLossError(
            absl::StrCat("changelog key of a part without its number or user: ", Shown(key)));
      }
      parsed.part = Number(id);
      parsed.user = id.substr(kNumberBytes);
      return parsed;
    case ChangelogKind::kDefinition:
      if (id.size() != kNumberBytes) {
        return absl::DataLossError(absl::StrCat("changelog key of a definition with ", id.size(),
                                                " bytes for the slot instead of ", kNumberBytes,
                                                ": ", Shown(key)));
      }
      parsed.slot = Number(id);
      return parsed;
    case ChangelogKind::kTask:
      if (!id.empty()) {
        return absl::DataLossError(
            absl::StrCat("changelog key of the task record with more to it: ", Shown(key)));
      }
      return parsed;
  }
  return absl::UnimplementedError(
      absl::StrCat("changelog key of unknown kind ", Shown(key.substr(0, 1)), " in ", Shown(key),
                   ": start the version of segmentd that wrote it, or a newer one"));
}

std::string FormatTaskRecord(segments::v1::TaskRecord record) {
  record.set_format(kTaskFormat);
  return Serialize(record);
}

absl::StatusOr<segments::v1::TaskRecord> ParseTaskRecord(std::string_view value) {
  segments::v1::TaskRecord record;
  if (!Parse(value, &record) || record.format() == 0) {
    return absl::DataLossError("task record in the changelog can't be read");
  }
  if (record.format() > kTaskFormat) {
    return absl::UnimplementedError(
        absl::StrCat("task record of format ", record.format(), ", and this version reads up to ",
                     kTaskFormat, ": start the version of segmentd that wrote it, or a newer one"));
  }
  return record;
}

std::string FormatAppliedDefinition(const segments::v1::AppliedDefinition& definition) {
  return Serialize(definition);
}

absl::StatusOr<segments::v1::AppliedDefinition> ParseAppliedDefinition(Slot slot,
                                                                       std::string_view value) {
  segments::v1::AppliedDefinition definition;
  if (!Parse(value, &definition)) {
    return absl::DataLossError(
        absl::StrCat("definition of slot ", slot, " in the changelog can't be read"));
  }
  if (definition.slot() != slot) {
    return absl::DataLossError(absl::StrCat("definition under the changelog key of slot ", slot,
                                            " says slot ", definition.slot()));
  }
  return definition;
}

}  // namespace segmentd
