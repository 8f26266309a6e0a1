#include "state/user_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "segment/settings.h"

namespace segmentd {
namespace {

static_assert(std::endian::native == std::endian::little, "fixed numbers are copied as they stand");

constexpr uint8_t kFormat = 6;

constexpr uint8_t kHasBase = 1;
constexpr uint8_t kHasSettled = 2;
constexpr uint8_t kSameEvent = 1;
constexpr uint8_t kFactValue = 2;
constexpr uint8_t kFactTooLate = 4;
constexpr uint8_t kExists = 1;
constexpr uint8_t kInstanceValue = 1;
constexpr uint8_t kInstanceDue = 2;

enum SegmentBits : uint16_t {
  kMember = 1,
  kTrigger = 2,
  kCount = 4,
  kSince = 8,
  kCauseAt = 16,
  kExitAt = 32,
  kSessionAt = 64,
  kJoinedValue = 128,
  kNotBuilt = 256,
  kMeasures = 512,
  kReadValue = 1024,
  // Of formats 3 and 4.
  kCountedAt = 2048,
  kTold = 4096,
  kAhead = 8192,
};

enum SequenceOp : uint8_t { kTake = 0, kLeaveOut = 1, kNew = 2 };

constexpr uint64_t kTimeMin = 0;
constexpr uint64_t kTimeMax = 1;
constexpr uint64_t kTimeFixed = 2;
constexpr uint64_t kTimeNear = 3;

constexpr uint64_t ZigZag(int64_t n) {
  return (static_cast<uint64_t>(n) << 1) ^ static_cast<uint64_t>(n >> 63);
}
constexpr int64_t UnZigZag(uint64_t n) {
  return static_cast<int64_t>((n >> 1) ^ -(n & 1));
}

// Differences wrap, so that any two offsets have one.
constexpr int64_t Minus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
constexpr int64_t Plus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

constexpr bool Finite(Time t) {
  return t != Time::Min() && t != Time::Max();
}
// "R or S".
constexpr Time Or(Time r, Time s) {
  return Finite(r) ? r : s;
}

const FoldState& EmptyFold() {
  static const FoldState* const kEmpty = new FoldState;
  return *kEmpty;
}

// Writes at the end of a string. room() comes before the put functions, which do not look.
class Writer {
 public:
  explicit Writer(std::string* out) : out_(out), size_(out->size()) {
    out_->resize(size_ + kFirst);
    end_ = out_->data() + out_->size();
    at_ = out_->data() + size_;
  }
  ~Writer() { out_->resize(static_cast<size_t>(at_ - out_->data())); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void room(size_t bytes) {
    if (static_cast<size_t>(end_ - at_) < bytes) grow(bytes);
  }
  void byte(uint8_t b) { *at_++ = static_cast<char>(b); }
  void number(uint64_t n) {
    while (n >= 0x80) {
      byte(static_cast<uint8_t>(n | 0x80));
      n >>= 7;
    }
    byte(static_cast<uint8_t>(n));
  }
  void signed_number(int64_t n) { number(ZigZag(n)); }
  void fixed(uint64_t n) {
    std::memcpy(at_, &n, sizeof n);
    at_ += sizeof n;
  }
  // `reference` is finite.
  void time(Time t, Time reference) {
    if (t == Time::Max()) return number(kTimeMax);
    if (t == Time::Min()) return number(kTimeMin);
    int64_t difference = 0;
    const bool far = __builtin_sub_overflow(t.millis(), reference.millis(), &difference);
    const uint64_t n = ZigZag(difference);
    if (far || n > ~kTimeNear) {
      number(kTimeFixed);
      return fixed(static_cast<uint64_t>(t.millis()));
    }
    number(n + kTimeNear);
  }
  void bytes(std::string_view text) {
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }

  static constexpr size_t kNumber = 10;

 private:
  static constexpr size_t kFirst = 384;

  void grow(size_t bytes) {
    const size_t used = static_cast<size_t>(at_ - out_->data());
    out_->resize(used + std::max(bytes, used) + kFirst);
    at_ = out_->data() + used;
    end_ = out_->data() + out_->size();
  }

  std::string* out_;
  size_t size_;
  char* at_;
  char* end_;
};

constexpr size_t kNumber = Writer::kNumber;

void PutText(Writer& w, std::string_view text) {
  w.room(kNumber + text.size());
  w.number(text.size());
  w.bytes(text);
}

void PutValue(Writer& w, const Value& value) {
  w.room(1 + kNumber);
  w.byte(static_cast<uint8_t>(value.type()));
  switch (value.type()) {
    case ValueType::kMissing:
      break;
    case ValueType::kString:
      PutText(w, value.text());
      break;
    case ValueType::kNumber:
      w.fixed(std::bit_cast<uint64_t>(value.number()));
      break;
    case ValueType::kBoolean:
      w.byte(value.boolean() ? 1 : 0);
      break;
    case ValueType::kList:
      w.number(value.items().size());
      for (const Value& item : value.items()) PutValue(w, item);
      break;
  }
}

void PutOwnedValue(Writer& w, const OwnedValue& value) {
  std::vector<Value> items;
  PutValue(w, value.view(&items));
}

void PutProperty(Writer& w, const Profile::Property& property, Time near) {
  PutText(w, property.name);
  PutOwnedValue(w, property.value);
  const EventOrder& absolute = property.newest_absolute;
  const EventOrder& newest = property.newest;
  w.room(4 * kNumber + 2 * sizeof(uint64_t));
  w.time(absolute.time, near);
  w.signed_number(absolute.offset.value());
  w.time(newest.time, Or(absolute.time, near));
  w.signed_number(Minus(newest.offset.value(), absolute.offset.value()));
}

void PutMeasure(Writer& w, const MeasureState& m, Time near) {
  w.room(kNumber);
  w.number(m.samples.size());
  Time before = near;
  for (const Sample& sample : m.samples) {
    w.room(2 * kNumber + 2 * sizeof(uint64_t));
    const bool plain = sample.count == 1 && sample.sum == 0;
    w.number(plain ? 0 : static_cast<uint64_t>(sample.count));
    if (!plain) w.fixed(std::bit_cast<uint64_t>(sample.sum));
    w.time(sample.at, before);
    before = Or(sample.at, near);
  }
}

void PutAhead(Writer& w, const std::vector<Addition>& ahead, Time near) {
  w.room(kNumber);
  w.number(ahead.size());
  Time before = near;
  for (const Addition& event : ahead) {
    w.room(3 * kNumber + 3 * sizeof(uint64_t));
    w.number(event.measure);
    w.fixed(std::bit_cast<uint64_t>(event.value));
    w.time(event.from, before);
    before = Or(event.from, near);
    w.time(event.at, before);
  }
}

void PutSegment(Writer& w, const SegmentState& s, Time near) {
  w.room(10 * kNumber + 6 * sizeof(uint64_t) + 2);
  w.number(s.slot);
  w.number(static_cast<uint32_t>(s.version));
  const auto bits = static_cast<uint16_t>(
      (s.member ? kMember : 0) | (s.trigger != 0 ? kTrigger : 0) | (s.count != 0 ? kCount : 0) |
      (s.since != Time::Min() ? kSince : 0) | (s.cause_at != Time::Min() ? kCauseAt : 0) |
      (s.exit_at != Time::Max() ? kExitAt : 0) |
      (s.memory->session_at != Time::Min() ? kSessionAt : 0) |
      (s.memory->joined_value != 0 ? kJoinedValue : 0) | (s.built ? 0 : kNotBuilt) |
      (s.memory->measures.empty() ? 0 : kMeasures) | (s.memory->read_value != 0 ? kReadValue : 0) |
      (s.told ? kTold : 0) | (s.memory->ahead->empty() ? 0 : kAhead));
  w.number(bits);
  w.number(s.memory->occurrences.size());
  for (const Occurrence& occurrence : s.memory->occurrences) {
    w.room(2 * kNumber + 3 * sizeof(uint64_t) + 1);
    const bool has_value = occurrence.value != 0;
    const bool has_due = occurrence.due != Time::Max();
    w.byte(static_cast<uint8_t>((has_value ? kInstanceValue : 0) | (has_due ? kInstanceDue : 0)));
    if (has_value) w.fixed(occurrence.value);
    w.time(occurrence.at, near);
    if (has_due) w.time(occurrence.due, Or(occurrence.at, near));
  }
  w.room(6 * kNumber + 7 * sizeof(uint64_t) + 1);
  if (bits & kTrigger) w.byte(s.trigger);
  if (bits & kCount) w.number(s.count);
  if (bits & kSince) w.time(s.since, near);
  if (bits & kCauseAt) w.time(s.cause_at, near);
  if (bits & kExitAt) w.time(s.exit_at, near);
  if (bits & kSessionAt) w.time(s.memory->session_at, near);
  if (bits & kJoinedValue) w.fixed(s.memory->joined_value);
  if (bits & kReadValue) w.fixed(s.memory->read_value);
  if (bits & kMeasures) {
    w.room(kNumber);
    w.number(s.memory->measures.size());
    for (const MeasureState& measure : s.memory->measures) PutMeasure(w, measure, near);
  }
  if (bits & kAhead) PutAhead(w, *s.memory->ahead, near);
}

std::strong_ordering Compare(const Profile::Property& a, const Profile::Property& b) {
  return a.name <=> b.name;
}
std::strong_ordering Compare(const SegmentState& a, const SegmentState& b) {
  return a.slot <=> b.slot;
}

void Put(Writer& w, const Profile::Property& property, Time near) {
  PutProperty(w, property, near);
}
void Put(Writer& w, const SegmentState& segment, Time near) {
  PutSegment(w, segment, near);
}

// Both sorted. Images of the same state are the same bytes.
template <typename Items>
void PutSequence(Writer& w, const Items& items, const Items& other, Time near) {
  w.room(2 * kNumber);
  w.number(items.size());
  if (items.empty()) return;
  if (other.empty()) {
    w.number(items.size() * 4 + kNew);
    for (const auto& item : items) Put(w, item, near);
    return;
  }
  size_t from = 0;
  for (size_t i = 0; i < items.size();) {
    size_t leave_out = 0;
    while (from < other.size() && Compare(other[from], items[i]) < 0) ++from, ++leave_out;
    size_t take = 0;
    while (i + take < items.size() && from + take < other.size() &&
           items[i + take] == other[from + take]) {
      ++take;
    }
    const bool replaces = take == 0 && from < other.size() && Compare(other[from], items[i]) == 0;
    if (replaces) ++from, ++leave_out;
    w.room(2 * kNumber);
    if (leave_out > 0) w.number(leave_out * 4 + kLeaveOut);
    if (take > 0) {
      w.number(take * 4 + kTake);
      from += take;
      i += take;
    } else {
      w.number(1 * 4 + kNew);
      Put(w, items[i++], near);
    }
  }
}

void PutFold(Writer& w, const FoldState& fold, const FoldState& other, Time near) {
  w.room(2 * kNumber + 1);
  w.byte(fold.exists ? kExists : 0);
  w.number(fold.writes_applied);
  w.number(fold.facts_applied);
  PutSequence(w, fold.profile.properties(), other.profile.properties(), near);
  PutSequence(w, fold.segments, other.segments, near);
}

// Reads what Writer wrote. The first thing wrong is kept, after which everything reads as 0.
class Reader {
 public:
  explicit Reader(std::string_view image)
      : begin_(image.data()), at_(begin_), end_(begin_ + image.size()) {}

  bool failed() const { return wrong_ != nullptr; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  void fail(const char* wrong) {
    if (failed()) return;
    wrong_ = wrong;
    wrong_at_ = static_cast<size_t>(at_ - begin_);
    at_ = end_;
  }
  absl::Status status() const {
    if (!failed()) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("user image of ", end_ - begin_, " bytes: ", wrong_, " at byte ", wrong_at_));
  }

  uint8_t byte() {
    if (at_ == end_) return fail(kShort), 0;
    return static_cast<uint8_t>(*at_++);
  }
  uint64_t number() {
    if (at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) return static_cast<uint8_t>(*at_++);
    uint64_t n = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const uint64_t b = byte();
      if (shift == 63 && b > 1) break;
      n |= (b & 0x7f) << shift;
      if (b < 0x80) return failed() ? 0 : n;
    }
    return fail("number over 64 bits"), 0;
  }
  uint32_t number32() {
    const uint64_t n = number();
    if (n > UINT32_MAX) return fail("number over 32 bits"), 0;
    return static_cast<uint32_t>(n);
  }
  int64_t signed_number() { return UnZigZag(number()); }
  uint64_t fixed() {
    uint64_t n = 0;
    if (left() < sizeof n) return fail(kShort), 0;
    std::memcpy(&n, at_, sizeof n);
    at_ += sizeof n;
    return n;
  }
  // `reference` is finite.
  Time time(Time reference) {
    const uint64_t n = number();
    if (n == kTimeMin) return Time::Min();
    if (n == kTimeMax) return Time::Max();
    if (n == kTimeFixed) return Time::Millis(static_cast<int64_t>(fixed()));
    return Time::Millis(Plus(reference.millis(), UnZigZag(n - kTimeNear)));
  }
  // The length of a list whose items take at least so many bytes each.
  size_t count(size_t item_bytes) {
    const uint64_t n = number();
    if (n > left() / item_bytes) return fail("list longer than the image"), 0;
    return static_cast<size_t>(n);
  }
  std::string_view text() {
    const size_t size = count(1);
    std::string_view text(at_, size);
    at_ += size;
    return text;
  }

 private:
  static constexpr const char* kShort = "cut off";

  const char* begin_;
  const char* at_;
  const char* end_;
  const char* wrong_ = nullptr;
  size_t wrong_at_ = 0;
};

// What the format of an image decides.
struct Layout {
  uint8_t format;
};

// A condition has at most a count, a sum, an average and a first time.
constexpr size_t kMaxMeasures = size_t{4} * kMaxConditions;

Value GetScalar(Reader& r, uint8_t type) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::kString:
      return Value::String(r.text());
    case ValueType::kNumber: {
      const auto number = std::bit_cast<double>(r.fixed());
      if (!std::isfinite(number)) break;
      return Value::Number(number);
    }
    case ValueType::kBoolean: {
      const uint8_t b = r.byte();
      if (b > 1) break;
      return Value::Boolean(b == 1);
    }
    case ValueType::kMissing:
    case ValueType::kList:
      break;
  }
  r.fail("value that can't be");
  return Value();
}

double GetFinite(Reader& r) {
  const auto number = std::bit_cast<double>(r.fixed());
  if (!std::isfinite(number)) r.fail("a number that is none");
  return number;
}

OwnedValue GetValue(Reader& r) {
  const uint8_t type = r.byte();
  if (type == static_cast<uint8_t>(ValueType::kMissing)) return OwnedValue();
  if (type != static_cast<uint8_t>(ValueType::kList)) return OwnedValue(GetScalar(r, type));
  std::vector<Value> items;
  const size_t count = r.count(2);
  items.reserve(count);
  for (size_t i = 0; i < count && !r.failed(); ++i) items.push_back(GetScalar(r, r.byte()));
  return OwnedValue(Value::List(items));
}

void Get(Reader& r, Layout, Time near, Profile::Property* property) {
  property->name = r.text();
  property->value = GetValue(r);
  EventOrder& absolute = property->newest_absolute;
  absolute.time = r.time(near);
  absolute.offset = Offset(r.signed_number());
  property->newest.time = r.time(Or(absolute.time, near));
  property->newest.offset = Offset(Plus(absolute.offset.value(), r.signed_number()));
}

void Get(Reader& r, Time near, MeasureState* m) {
  const size_t samples = r.count(2);
  m->samples.resize(samples);
  Time before = near;
  for (size_t i = 0; i < samples && !r.failed(); ++i) {
    Sample& sample = m->samples[i];
    const uint64_t count = r.number();
    if (count > INT64_MAX) r.fail("more events than there can be");
    if (count > 0) {
      sample.count = static_cast<int64_t>(count);
      sample.sum = GetFinite(r);
    }
    sample.at = r.time(before);
    if (i > 0 && sample.at < m->samples[i - 1].at) r.fail("samples out of order");
    before = Or(sample.at, near);
  }
}

void GetAhead(Reader& r, Time near, size_t measures, std::vector<Addition>* ahead) {
  const size_t size = r.count(3 + sizeof(uint64_t));
  Time before = near;
  for (size_t i = 0; i < size && !r.failed(); ++i) {
    Addition& event = ahead->emplace_back();
    event.measure = r.number32();
    if (event.measure >= measures) r.fail("an event of a measure that is not there");
    event.value = GetFinite(r);
    event.from = r.time(before);
    if (i > 0 && event.from < (*ahead)[i - 1].from) r.fail("events of a history out of order");
    before = Or(event.from, near);
    event.at = r.time(before);
  }
}

void Get(Reader& r, Layout layout, Time near, SegmentState* s) {
  s->slot = r.number32();
  s->version = static_cast<int32_t>(r.number32());
  const uint64_t bits = layout.format == 1 ? r.byte() : r.number();
  const uint64_t known = layout.format < 3   ? kReadValue
                         : layout.format < 4 ? kTold
                         : layout.format < 5 ? kAhead
                                             : kAhead * 2;
  if (bits >= known || (layout.format > 4 && (bits & kCountedAt) != 0)) {
    r.fail("segment with unknown bits");
  }
  const size_t occurrences = r.count(2);
  for (size_t i = 0; i < occurrences && !r.failed(); ++i) {
    Occurrence& occurrence = s->memory.open().occurrences.emplace_back();
    const uint8_t has = r.byte();
    if (has & ~(kInstanceValue | kInstanceDue)) r.fail("occurrence with unknown bits");
    if (has & kInstanceValue) occurrence.value = r.fixed();
    occurrence.at = r.time(near);
    if (has & kInstanceDue) occurrence.due = r.time(Or(occurrence.at, near));
  }
  s->member = (bits & kMember) != 0;
  if (bits & kTrigger) s->trigger = r.byte();
  if (bits & kCount) s->count = r.number32();
  if (bits & kSince) s->since = r.time(near);
  if (bits & kCauseAt) s->cause_at = r.time(near);
  if (bits & kExitAt) s->exit_at = r.time(near);
  if (bits & kSessionAt) s->memory.open().session_at = r.time(near);
  if (bits & kJoinedValue) s->memory.open().joined_value = r.fixed();
  if (bits & kReadValue) s->memory.open().read_value = r.fixed();
  // As of when its past was to be asked for: up to max_lateness after an activation.
  if (bits & kCountedAt) r.time(near);
  // It was one number for both.
  if (layout.format < 3 && (bits & kJoinedValue)) {
    s->memory.open().read_value = s->memory->joined_value;
  }
  s->built = (bits & kNotBuilt) == 0;
  s->told = (bits & kTold) != 0;
  const size_t measures = (bits & kMeasures) != 0 ? r.count(1) : 0;
  if (measures > kMaxMeasures) r.fail("more measures than a definition has");
  for (size_t i = 0; i < measures && !r.failed(); ++i) {
    Get(r, near, &s->memory.open().measures.emplace_back());
  }
  if (bits & kAhead) GetAhead(r, near, measures, &s->memory.open().ahead.open());
}

template <typename Item, typename Items>
std::vector<Item> GetSequence(Reader& r, Layout layout, const Items& other, Time near) {
  const uint64_t size = r.number();
  std::vector<Item> items;
  // An item takes at least 4 bytes.
  if (size > other.size() + r.left() / 4) return r.fail("sequence longer than the image"), items;
  items.reserve(size);
  size_t from = 0;
  while (items.size() < size && !r.failed()) {
    const uint64_t op = r.number();
    const uint64_t n = op / 4;
    switch (op % 4) {
      case kTake:
      case kLeaveOut: {
        const bool take = op % 4 == kTake;
        if (n > other.size() - from || (take && n > size - items.size())) {
          r.fail("more items than the base has");
          break;
        }
        const auto begin = other.begin() + static_cast<std::ptrdiff_t>(from);
        if (take) items.insert(items.end(), begin, begin + static_cast<std::ptrdiff_t>(n));
        from += n;
        break;
      }
      case kNew:
        if (n > size - items.size()) r.fail("more items than said");
        for (uint64_t i = 0; i < n && !r.failed(); ++i) Get(r, layout, near, &items.emplace_back());
        break;
      default:
        r.fail("unknown step of a sequence");
    }
  }
  for (size_t i = 1; i < items.size(); ++i) {
    if (Compare(items[i - 1], items[i]) >= 0) r.fail("sequence out of order");
  }
  return items;
}

void GetFold(Reader& r, Layout layout, const FoldState& other, const UserState& user, Time near,
             FoldState* fold) {
  if (layout.format > 1) {
    const uint8_t bits = r.byte();
    if (bits & ~kExists) r.fail("fold with unknown bits");
    fold->exists = bits & kExists;
  } else {
    fold->exists = true;
  }
  fold->writes_applied = r.number32();
  if (fold->writes_applied > user.writes.size()) {
    r.fail("more profile writes applied than there are");
  }
  if (layout.format > 1) {
    fold->facts_applied = r.number32();
    if (fold->facts_applied > user.facts.size()) r.fail("more facts applied than there are");
  } else if (fold == &user.present) {
    fold->facts_applied = static_cast<uint32_t>(user.facts.size());
  }
  fold->profile =
      Profile::Restore(GetSequence<Profile::Property>(r, layout, other.profile.properties(), near));
  fold->segments = SegmentStates(GetSequence<SegmentState>(r, layout, other.segments, near));
}

}  // namespace

void AppendUserImage(const UserState& user, Offset included, std::string* out) {
  const Time near = Or(user.newest_event, Time());
  Writer w(out);
  w.byte(kFormat);
  w.signed_number(included.value());
  const Settled settled = user.settled();
  const bool has_settled = settled != Settled();
  w.byte(static_cast<uint8_t>((user.base != nullptr ? kHasBase : 0) |
                              (has_settled ? kHasSettled : 0)));
  w.time(user.newest_event, Time());
  w.time(user.exists_since, near);
  w.signed_number(user.exists_offset.value());
  w.time(user.now, near);
  w.time(user.decided, near);
  w.time(user.next_deadline, near);
  w.time(user.base_time(), near);
  if (has_settled) {
    w.signed_number(settled.before.value());
    w.time(settled.at, near);
    w.number(settled.change_number);
  }

  w.number(user.facts.size());
  EventOrder before;
  for (const Fact& fact : user.facts) {
    w.room(1 + 3 * kNumber + 4 * sizeof(uint64_t));
    const bool same = fact.order == before && &fact != user.facts.data();
    const bool too_late = fact.at != fact.order.time;
    w.byte(static_cast<uint8_t>((same ? kSameEvent : 0) | (fact.value != 0 ? kFactValue : 0) |
                                (too_late ? kFactTooLate : 0)));
    if (!same) {
      w.time(fact.order.time, Or(before.time, near));
      w.signed_number(Minus(fact.order.offset.value(), before.offset.value()));
      before = fact.order;
    }
    w.fixed(fact.atom);
    if (fact.value != 0) w.fixed(fact.value);
    if (too_late) w.time(fact.at, Or(fact.order.time, near));
  }

  w.room(kNumber);
  w.number(user.writes.size());
  before = {};
  for (const ProfileWrite& write : user.writes) {
    w.room(3 * kNumber + 2 * sizeof(uint64_t) + 1);
    w.time(write.order.time, Or(before.time, near));
    w.signed_number(Minus(write.order.offset.value(), before.offset.value()));
    w.time(write.effective, Or(write.order.time, near));
    w.byte(static_cast<uint8_t>(write.operation));
    PutText(w, write.property);
    PutOwnedValue(w, write.value);
    before = write.order;
  }

  w.room(kNumber);
  w.number(user.seen.size());
  Time seen_before = near;
  Offset offset_before = included;
  for (const SeenMessage& seen : user.seen) {
    w.room(2 * kNumber + 2 * sizeof(uint64_t));
    w.fixed(seen.id);
    w.time(seen.record_time, seen_before);
    w.signed_number(Minus(seen.offset.value(), offset_before.value()));
    seen_before = Or(seen.record_time, near);
    offset_before = seen.offset;
  }

  if (user.base != nullptr) PutFold(w, *user.base, EmptyFold(), near);
  PutFold(w, user.present, user.base != nullptr ? *user.base : EmptyFold(), near);
}

absl::Status ParseUserImage(std::string_view image, UserState* user, Offset* included) {
  Reader r(image);
  const uint8_t format = r.byte();
  if (!r.failed() && (format < 1 || format > kFormat)) {
    return absl::UnimplementedError(
        absl::StrCat("user image of format ", format, ", and this version reads up to ", kFormat,
                     ": start the version that wrote it, or a newer one"));
  }
  const Layout layout{format};
  *included = Offset(r.signed_number());
  const uint8_t has = r.byte();
  const bool has_settled = format > 2 && (has & kHasSettled) != 0;
  if ((has & ~(kHasBase | (has_settled ? kHasSettled : 0))) != 0 || has == kHasSettled) {
    r.fail("unknown parts");
  }
  user->newest_event = r.time(Time());
  const Time near = Or(user->newest_event, Time());
  user->exists_since = r.time(near);
  if (format > 1) user->exists_offset = Offset(r.signed_number());
  user->now = r.time(near);
  user->decided = r.time(near);
  user->next_deadline = r.time(near);
  const Time base_time = r.time(near);
  Settled settled;
  if (has_settled) {
    settled.before = Offset(r.signed_number());
    settled.at = r.time(near);
    if (format > 5) settled.change_number = r.number();
  }

  size_t count = r.count(1 + sizeof(uint64_t));
  user->facts.resize(count);
  EventOrder before;
  for (size_t i = 0; i < count && !r.failed(); ++i) {
    Fact& fact = user->facts[i];
    const uint8_t bits = r.byte();
    if ((bits & ~(kSameEvent | kFactValue | kFactTooLate)) || (i == 0 && (bits & kSameEvent))) {
      r.fail("fact with unknown bits");
    }
    fact.order = before;
    if (!(bits & kSameEvent)) {
      fact.order.time = r.time(Or(before.time, near));
      fact.order.offset = Offset(Plus(before.offset.value(), r.signed_number()));
      if (i > 0 && fact.order < before) r.fail("facts out of order");
      before = fact.order;
    }
    fact.atom = r.fixed();
    if (bits & kFactValue) fact.value = r.fixed();
    fact.at = bits & kFactTooLate ? r.time(Or(fact.order.time, near)) : fact.order.time;
  }

  count = r.count(6);
  user->writes.resize(count);
  before = {};
  for (size_t i = 0; i < count && !r.failed(); ++i) {
    ProfileWrite& write = user->writes[i];
    write.order.time = r.time(Or(before.time, near));
    write.order.offset = Offset(Plus(before.offset.value(), r.signed_number()));
    write.effective = r.time(Or(write.order.time, near));
    const uint8_t operation = r.byte();
    if (operation < 1 || operation > static_cast<uint8_t>(ProfileOperation::kDecrement)) {
      r.fail("unknown profile operation");
    }
    write.operation = static_cast<ProfileOperation>(operation);
    write.property = r.text();
    write.value = GetValue(r);
    if (i > 0) {
      const ProfileWrite& last = user->writes[i - 1];
      if (write.effective_order() < last.effective_order()) {
        r.fail("profile writes out of order");
      }
    }
    before = write.order;
  }

  count = r.count((format > 3 ? 2 : 1) + sizeof(uint64_t));
  user->seen.assign(count, SeenMessage());
  Time seen_before = near;
  Offset offset_before = *included;
  for (size_t i = 0; i < count && !r.failed(); ++i) {
    SeenMessage& seen = user->seen[i];
    seen.id = r.fixed();
    if (seen.id == 0) r.fail("message ID 0");
    seen.record_time = r.time(seen_before);
    if (format > 3) {
      seen.offset = Offset(Plus(offset_before.value(), r.signed_number()));
      offset_before = seen.offset;
    }
    seen_before = Or(seen.record_time, near);
  }

  user->base.reset();
  if (has & kHasBase) {
    user->base = std::make_unique<Base>();
    user->base->until = base_time;
    user->base->settled = settled;
    GetFold(r, layout, EmptyFold(), *user, near, user->base.get());
  }
  GetFold(r, layout, user->base != nullptr ? *user->base : EmptyFold(), *user, near,
          &user->present);
  if (!r.failed() && r.left() > 0) r.fail("bytes left over");
  return r.status();
}

}  // namespace segmentd
