#include "state/image_parts.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "segment/value.h"

namespace segmentd {
namespace {

constexpr char kInParts = 0;

static_assert(std::endian::native == std::endian::little, "numbers are copied as they stand");

template <typename Number>
void Put(Number number, std::string* out) {
  out->append(reinterpret_cast<const char*>(&number), sizeof number);
}

// False when there is too little.
template <typename Number>
bool Take(std::string_view* bytes, Number* number) {
  if (bytes->size() < sizeof *number) return false;
  std::memcpy(number, bytes->data(), sizeof *number);
  bytes->remove_prefix(sizeof *number);
  return true;
}

uint64_t Fingerprint(std::string_view image) {
  return ValueFingerprint(Value::String(image));
}

}  // namespace

size_t CountImageParts(size_t image_bytes, size_t part_bytes) {
  return std::max<size_t>(1, (image_bytes + part_bytes - 1) / part_bytes);
}

void CutImage(std::string_view image, size_t part_bytes,
              absl::FunctionRef<void(size_t part, std::string_view value)> write) {
  const size_t parts = CountImageParts(image.size(), part_bytes);
  if (parts == 1) return write(0, image);
  const uint64_t fingerprint = Fingerprint(image);
  std::string value;
  for (size_t part = 1; part < parts; ++part) {
    value.clear();
    Put(fingerprint, &value);
    value.append(image.substr(part * part_bytes, part_bytes));
    write(part, value);
  }
  value.assign(1, kInParts);
  Put(static_cast<uint32_t>(parts), &value);
  Put(fingerprint, &value);
  value.append(image.substr(0, part_bytes));
  write(0, value);
}

absl::Status ImagePartReader::take_part(std::string_view user, size_t part,
                                        std::optional<std::string_view> value) {
  if (!value) {
    if (const auto it = parts_.find(user); it != parts_.end()) it->second.erase(part);
    return absl::OkStatus();
  }
  Part taken;
  if (!Take(&*value, &taken.fingerprint)) {
    return absl::DataLossError("part of an image without a fingerprint");
  }
  taken.bytes = *value;
  parts_[std::string(user)][part] = std::move(taken);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string_view>> ImagePartReader::take(std::string_view user,
                                                                      std::string_view value) {
  if (const auto it = lacking_.find(user); it != lacking_.end()) lacking_.erase(it);
  std::map<size_t, Part> parts;
  if (const auto it = parts_.find(user); it != parts_.end()) {
    parts = std::move(it->second);
    parts_.erase(it);
  }
  if (value.empty() || value[0] != kInParts) return value;
  value.remove_prefix(1);
  uint32_t count = 0;
  uint64_t fingerprint = 0;
  if (!Take(&value, &count) || !Take(&value, &fingerprint)) {
    return absl::DataLossError("image in parts whose beginning can't be read");
  }
  image_ = value;
  for (size_t part = 1; part < count; ++part) {
    const auto it = parts.find(part);
    if (it == parts.end() || it->second.fingerprint != fingerprint) {
      lacking_.emplace(user);
      return std::nullopt;
    }
    image_ += it->second.bytes;
  }
  if (Fingerprint(image_) != fingerprint) {
    return absl::DataLossError("image in parts that do not fit each other");
  }
  return image_;
}

absl::Status ImagePartReader::finish() const {
  if (lacking_.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the image of user \"",
                                          absl::CHexEscape(*lacking_.begin()), "\" lacks parts (",
                                          lacking_.size(), " such users)"));
}

}  // namespace segmentd
