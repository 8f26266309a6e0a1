#include "segment/value.h"

#include <bit>

#include "segment/unaligned.h"

namespace segmentd {
namespace {

static_assert(std::endian::native == std::endian::little, "fingerprints are kept across machines");

// XXH64 by Yann Collet, after its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md):
// fast on short strings, and fixed for ever.
constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5;

constexpr uint64_t Round(uint64_t lane, uint64_t word) {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

constexpr uint64_t Merge(uint64_t hash, uint64_t lane) {
  return (hash ^ Round(0, lane)) * kPrime1 + kPrime4;
}

uint64_t Xxh64(std::string_view bytes, uint64_t seed) {
  const char* p = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = seed + kPrime5;
  if (left >= 32) {
    uint64_t a = seed + kPrime1 + kPrime2;
    uint64_t b = seed + kPrime2;
    uint64_t c = seed;
    uint64_t d = seed - kPrime1;
    for (; left >= 32; left -= 32, p += 32) {
      a = Round(a, ReadUnaligned<uint64_t>(p));
      b = Round(b, ReadUnaligned<uint64_t>(p + 8));
      c = Round(c, ReadUnaligned<uint64_t>(p + 16));
      d = Round(d, ReadUnaligned<uint64_t>(p + 24));
    }
    hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    hash = Merge(Merge(Merge(Merge(hash, a), b), c), d);
  }
  hash += bytes.size();
  for (; left >= 8; left -= 8, p += 8) {
    hash = std::rotl(hash ^ Round(0, ReadUnaligned<uint64_t>(p)), 27) * kPrime1 + kPrime4;
  }
  if (left >= 4) {
    hash = std::rotl(hash ^ ReadUnaligned<uint32_t>(p) * kPrime1, 23) * kPrime2 + kPrime3;
    left -= 4;
    p += 4;
  }
  for (; left > 0; --left, ++p) {
    hash = std::rotl(hash ^ ReadUnaligned<uint8_t>(p) * kPrime5, 11) * kPrime1;
  }
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

uint64_t HashWord(uint64_t word, uint64_t seed) {
  return Xxh64({reinterpret_cast<const char*>(&word), sizeof(word)}, seed);
}

}  // namespace

bool SameValue(const Value& a, const Value& b) {
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case ValueType::kMissing:
      return true;
    case ValueType::kString:
      return a.text() == b.text();
    case ValueType::kNumber:
      return a.number() == b.number();
    case ValueType::kBoolean:
      return a.boolean() == b.boolean();
    case ValueType::kList:
      if (a.items().size() != b.items().size()) return false;
      for (size_t i = 0; i < a.items().size(); ++i) {
        if (!SameValue(a.items()[i], b.items()[i])) return false;
      }
      return true;
  }
  return false;
}

// The seed is the type, so that 1, true and the string of the same bytes differ.
uint64_t ValueFingerprint(const Value& value) {
  const auto seed = static_cast<uint64_t>(value.type());
  uint64_t hash = 0;
  switch (value.type()) {
    case ValueType::kMissing:
      return 0;
    case ValueType::kString:
      hash = Xxh64(value.text(), seed);
      break;
    case ValueType::kNumber:
      hash = HashWord(std::bit_cast<uint64_t>(value.number() == 0 ? 0.0 : value.number()), seed);
      break;
    case ValueType::kBoolean:
      hash = HashWord(value.boolean() ? 1 : 0, seed);
      break;
    case ValueType::kList:
      hash = HashWord(value.items().size(), seed);
      for (const Value& item : value.items()) hash = HashWord(ValueFingerprint(item), hash);
      break;
  }
  return hash == 0 ? 1 : hash;
}

}  // namespace segmentd
