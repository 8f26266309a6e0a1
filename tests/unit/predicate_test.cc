#include "segment/predicate.h"

#include <cstdlib>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace {
thread_local size_t allocations = 0;
}

// The analyzer takes what these give for malloc()'s own, and sees no delete of it.
#ifndef __clang_analyzer__
// Not inlined: GCC 12 would see free() of what new gave, and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace segmentd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const Time kNow = Time::Millis(1'795'339'800'000);  // 2026-11-22T09:30:00Z

segments::v1::PropertyCondition Condition(const std::string& text) {
  segments::v1::PropertyCondition condition;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &condition)) << text;
  return condition;
}

Predicate Compile(const std::string& text) {
  auto predicate = Predicate::Compile(Condition(text));
  EXPECT_TRUE(predicate.ok()) << text << ": " << predicate.status();
  return *std::move(predicate);
}

std::string Refusal(const std::string& text) {
  const auto predicate = Predicate::Compile(Condition(text));
  if (predicate.ok()) return "compiled";
  EXPECT_EQ(predicate.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(predicate.status().message());
}

Value S(std::string_view text) {
  return Value::String(text);
}
Value N(double number) {
  return Value::Number(number);
}
const Value kTrue = Value::Boolean(true);
const Value kFalse = Value::Boolean(false);

// One of every operator; the numbers of the values that it holds for.
struct Case {
  const char* condition;
  std::vector<int> holds;
};

TEST(Predicate, OperatorsAgainstValuesOfEveryType) {
  const Value mixed[] = {S("b"), N(7), kTrue};
  const Value values[] = {
      /*0*/ Value(),
      /*1*/ S(""),
      /*2*/ S("a"),
      /*3*/ S("b"),
      /*4*/ S("B"),
      /*5*/ S("abc"),
      /*6*/ S("7"),
      /*7*/ N(-7),
      /*8*/ N(0),
      /*9*/ N(7),
      /*10*/ N(7.5),
      /*11*/ kTrue,
      /*12*/ kFalse,
      /*13*/ Value::List({}),
      /*14*/ Value::List(mixed),
      /*15*/ S("2026-11-22"),
  };
  const Case cases[] = {
      {"equals { string_value: 'b' }", {3, 14}},
      {"equals { string_value: '' }", {1}},
      {"equals { string_value: '7' }", {6}},
      {"equals { number_value: 7 }", {9, 14}},
      {"equals { number_value: -0.0 }", {8}},
      {"equals { bool_value: true }", {11, 14}},
      {"equals { bool_value: false }", {12}},
      {"not_equals { string_value: 'b' }", {1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15}},
      {"not_equals { number_value: 7 }", {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15}},
      {"in { values { string_value: 'a' } values { number_value: 7 } }", {2, 9, 14}},
      {"not_in { values { string_value: 'a' } values { number_value: 7 } }",
       {1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15}},
      {"greater_than { number_value: 7 }", {10}},
      {"at_least { number_value: 7 }", {9, 10, 14}},
      {"less_than { number_value: 7 }", {7, 8}},
      {"at_most { number_value: 7 }", {7, 8, 9, 14}},
      {"greater_than { string_value: 'a' }", {3, 5, 14}},
      {"at_least { string_value: 'a' }", {2, 3, 5, 14}},
      {"less_than { string_value: 'a' }", {1, 4, 6, 15}},
      {"at_most { string_value: 'a' }", {1, 2, 4, 6, 15}},
      {"between { values { number_value: 0 } values { number_value: 7 } }", {8, 9, 14}},
      {"between { values { number_value: 7 } values { number_value: 7 } }", {9, 14}},
      {"between { values { string_value: 'a' } values { string_value: 'b' } }", {2, 3, 5, 14}},
      {"contains: 'b'", {3, 5, 14}},
      {"contains: ''", {1, 2, 3, 4, 5, 6, 14, 15}},
      {"contains: 'abcd'", {}},
      {"not_contains: 'b'", {1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 14, 15}},
      {"starts_with: 'ab'", {5}},
      {"starts_with: ''", {1, 2, 3, 4, 5, 6, 14, 15}},
      {"ends_with: 'bc'", {5}},
      {"ends_with: 'abcd'", {}},
      {"matches: '^a'", {2, 5}},
      {"matches: 'b'", {3, 5, 14}},
      {"matches: '^$'", {1}},
      {"exists: true", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
      {"exists: false", {0}},
      {"before: '2026-11-23'", {15}},
      {"before: '2026-11-22'", {}},
      {"after: '2026-11-21'", {15}},
      {"after: '2026-11-22'", {}},
      {"within_last: '10h'", {15}},
      {"within_last: '9h'", {}},
      {"within_next: '10h'", {}},
  };
  for (const Case& c : cases) {
    const Predicate predicate = Compile(c.condition);
    std::vector<int> holds;
    for (int i = 0; i < static_cast<int>(std::size(values)); ++i) {
      if (predicate.holds(values[i], kNow)) holds.push_back(i);
    }
    EXPECT_EQ(holds, c.holds) << c.condition;
  }
}

TEST(Predicate, StringsCompareByteByByte) {
  // A signed byte would stand below the letters.
  EXPECT_TRUE(Compile("greater_than { string_value: 'z' }").holds(S("é"), kNow));
  EXPECT_FALSE(Compile("equals { string_value: 'é' }").holds(S("e\u0301"), kNow));
  EXPECT_TRUE(
      Compile("greater_than { string_value: 'a' }").holds(S(std::string_view("a\0", 2)), kNow));
}

TEST(Predicate, TimesAreReadFromStringsOnly) {
  const Predicate before = Compile("before: '2026-11-22T09:30'");
  EXPECT_TRUE(before.holds(S("2026-11-22T09:29:59.999Z"), kNow));
  EXPECT_FALSE(before.holds(S("2026-11-22T09:30:00.000Z"), kNow));
  EXPECT_TRUE(before.holds(S("2026-11-22T14:59+05:30"), kNow));
  EXPECT_TRUE(before.holds(S("$D_1620000000"), kNow));
  EXPECT_FALSE(before.holds(N(0), kNow));
  EXPECT_FALSE(before.holds(S("0"), kNow));
  EXPECT_FALSE(before.holds(S("long ago"), kNow));
  const Predicate after = Compile("after: '2026-11-22T15:00+05:30'");
  EXPECT_FALSE(after.holds(S("2026-11-22T09:30:00.000Z"), kNow));
  EXPECT_TRUE(after.holds(S("2026-11-22T09:30:00.001Z"), kNow));
}

TEST(Predicate, WindowsAreHalfOpen) {
  const auto at = [](int64_t ms) { return FormatTimestamp(kNow + Duration::Millis(ms)); };
  const Predicate last = Compile("within_last: '1h'");
  EXPECT_FALSE(last.holds(S(at(-3'600'000)), kNow));
  EXPECT_TRUE(last.holds(S(at(-3'599'999)), kNow));
  EXPECT_TRUE(last.holds(S(at(0)), kNow));
  EXPECT_FALSE(last.holds(S(at(1)), kNow));
  const Predicate next = Compile("within_next: '1h'");
  EXPECT_FALSE(next.holds(S(at(-1)), kNow));
  EXPECT_TRUE(next.holds(S(at(0)), kNow));
  EXPECT_TRUE(next.holds(S(at(3'599'999)), kNow));
  EXPECT_FALSE(next.holds(S(at(3'600'000)), kNow));
  EXPECT_TRUE(last.moves_with_time());
  EXPECT_TRUE(next.moves_with_time());
  EXPECT_FALSE(Compile("before: '2026-11-22'").moves_with_time());
  EXPECT_FALSE(Compile("exists: true").moves_with_time());
}

TEST(Predicate, IgnoreCaseFolds) {
  const std::pair<std::string_view, std::string_view> same[] = {
      {"Facebook", "FACEBOOK"},
      {"été", "ÉTÉ"},
      {"Ωμέγα", "ωΜΈΓΑ"},
      {"Москва", "МОСКВА"},
      {"ß", "ẞ"},
      {"\u212A", "k"},
      {"ſ", "S"},
      {"ς", "Σ"},
      {"Ⱥ", "ⱥ"},
      {"Ǆ", "ǆ"},
      {"ա", "Ա"},
      {"\U00010428", "\U00010400"},
  };
  for (const auto& [a, b] : same) {
    segments::v1::PropertyCondition condition;
    condition.set_ignore_case(true);
    condition.mutable_equals()->set_string_value(std::string(a));
    EXPECT_TRUE(Predicate::Compile(condition)->holds(S(b), kNow)) << a << ", " << b;
    condition.mutable_equals()->set_string_value(std::string(b));
    EXPECT_TRUE(Predicate::Compile(condition)->holds(S(a), kNow)) << b << ", " << a;
  }
  EXPECT_FALSE(
      Compile("equals { string_value: 'strasse' } ignore_case: true").holds(S("Straße"), kNow));
  EXPECT_FALSE(Compile("equals { string_value: 'i' } ignore_case: true").holds(S("İ"), kNow));
  EXPECT_FALSE(Compile("equals { string_value: '[' } ignore_case: true").holds(S("{"), kNow));

  EXPECT_FALSE(Compile("not_equals { string_value: 'A' } ignore_case: true").holds(S("a"), kNow));
  EXPECT_TRUE(
      Compile("in { values { string_value: 'X' } values { string_value: 'Y' } } ignore_case: true")
          .holds(S("y"), kNow));
  EXPECT_FALSE(
      Compile(
          "not_in { values { string_value: 'X' } values { string_value: 'Y' } } ignore_case: true")
          .holds(S("y"), kNow));
  EXPECT_TRUE(Compile("contains: 'ÉTÉ' ignore_case: true").holds(S("un été"), kNow));
  EXPECT_FALSE(Compile("not_contains: 'ÉTÉ' ignore_case: true").holds(S("un été"), kNow));
  EXPECT_TRUE(Compile("starts_with: 'HTTPS:' ignore_case: true").holds(S("https://x"), kNow));
  EXPECT_TRUE(Compile("ends_with: '.ORG' ignore_case: true").holds(S("example.Org"), kNow));
  EXPECT_TRUE(Compile("matches: '^É' ignore_case: true").holds(S("été"), kNow));
  EXPECT_TRUE(Compile("less_than { string_value: 'B' } ignore_case: true").holds(S("a"), kNow));
  EXPECT_FALSE(Compile("less_than { string_value: 'B' }").holds(S("a"), kNow));
  EXPECT_TRUE(
      Compile(
          "between { values { string_value: 'A' } values { string_value: 'C' } } ignore_case: true")
          .holds(S("b"), kNow));
  EXPECT_TRUE(Compile("equals { number_value: 7 } ignore_case: true").holds(N(7), kNow));
}

TEST(Predicate, IgnoreCaseTakesAnyBytesAndLengths) {
  const Predicate ends = Compile("ends_with: 'END' ignore_case: true");
  for (const size_t length : {0, 1, 100, 339, 340, 341, 342, 343, 512, 5000}) {
    // Each of these two bytes becomes three.
    std::string text;
    while (text.size() + 1 < length) text += "Ⱥ";
    EXPECT_TRUE(ends.holds(S(text + "end"), kNow)) << length;
    EXPECT_FALSE(ends.holds(S(text), kNow)) << length;
  }
  for (const std::string_view odd :
       {"\xff", "\xc3", "\xe2\x84", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80"}) {
    segments::v1::PropertyCondition condition;
    condition.set_ignore_case(true);
    condition.set_contains(std::string(odd) + "X");
    const auto predicate = Predicate::Compile(condition);
    EXPECT_TRUE(predicate->holds(S(std::string("A") + std::string(odd) + "x"), kNow));
    EXPECT_FALSE(predicate->holds(S("Ax"), kNow));
  }
}

TEST(Predicate, LongListsAreSearched) {
  for (const int size : {2, 7, 8, 9, 1000}) {
    segments::v1::PropertyCondition condition;
    for (int i = 0; i < size; ++i) {
      auto* value = condition.mutable_in()->add_values();
      if (i % 2) {
        value->set_number_value(i);
      } else {
        value->set_string_value(std::to_string(i));
      }
    }
    const auto in = Predicate::Compile(condition);
    *condition.mutable_not_in() = condition.in();
    condition.clear_in();
    const auto not_in = Predicate::Compile(condition);
    ASSERT_TRUE(in.ok() && not_in.ok());
    for (int i = 0; i < size + 2; ++i) {
      const std::string text = std::to_string(i);
      EXPECT_EQ(in->holds(S(text), kNow), i < size && i % 2 == 0) << i;
      EXPECT_EQ(in->holds(N(i), kNow), i < size && i % 2 == 1) << i;
      EXPECT_EQ(not_in->holds(S(text), kNow), !in->holds(S(text), kNow)) << i;
    }
    EXPECT_FALSE(in->holds(Value(), kNow));
    EXPECT_FALSE(not_in->holds(Value(), kNow));
  }
}

TEST(Predicate, EqualitiesTellTheirFingerprints) {
  const auto of = [](const std::string& condition) {
    const Predicate predicate = Compile(condition);
    return std::vector<uint64_t>(predicate.equal_to().begin(), predicate.equal_to().end());
  };
  const uint64_t a = ValueFingerprint(S("a"));
  const uint64_t seven = ValueFingerprint(N(7));
  EXPECT_THAT(of("equals { string_value: 'a' }"), ElementsAre(a));
  EXPECT_THAT(of("equals { number_value: 7 } ignore_case: true"), ElementsAre(seven));
  EXPECT_THAT(of("in { values { string_value: 'a' } }"), ElementsAre(a));
  EXPECT_THAT(of("in { values { string_value: 'a' } values { number_value: 7 } values { "
                 "string_value: 'a' } }"),
              UnorderedElementsAre(a, seven));
  EXPECT_THAT(of("equals { string_value: 'a' } ignore_case: true"), IsEmpty());
  EXPECT_THAT(
      of("in { values { string_value: 'a' } values { number_value: 7 } } ignore_case: true"),
      IsEmpty());
  EXPECT_THAT(of("not_equals { string_value: 'a' }"), IsEmpty());
  EXPECT_THAT(of("not_in { values { string_value: 'a' } values { number_value: 7 } }"), IsEmpty());
  EXPECT_THAT(of("contains: 'a'"), IsEmpty());
}

TEST(Predicate, CanonicalTextsAreTheSameForEver) {
  const std::pair<const char*, const char*> cases[] = {
      {"equals { string_value: 'a b' }", "equals s3:a b"},
      {"equals { string_value: 'A' } ignore_case: true", "equals/ignore_case s1:a"},
      {"equals { number_value: 7 } ignore_case: true", "equals n7"},
      {"equals { number_value: -0.0 }", "equals n0"},
      {"equals { number_value: 0.1 }", "equals n0.1"},
      {"equals { bool_value: true }", "equals true"},
      {"in { values { number_value: 7 } }", "equals n7"},
      {"in { values { number_value: 7 } values { number_value: 7 } }", "in n7"},
      {"not_in { values { string_value: 'x' } }", "not_equals s1:x"},
      {"at_least { number_value: 1e300 }", "at_least n1e+300"},
      {"between { values { number_value: 1 } values { number_value: 2 } }", "between n1 n2"},
      {"contains: 'É' ignore_case: true", "contains/ignore_case s2:é"},
      {"matches: 'É' ignore_case: true", "matches/ignore_case s2:É"},
      {"exists: false", "exists false"},
      {"before: '2026-11-22T15:00+05:30'", "before 1795339800000"},
      {"within_last: '1h30m'", "within_last 5400000"},
  };
  for (const auto& [condition, canonical] : cases) {
    EXPECT_EQ(Compile(condition).canonical(), canonical) << condition;
  }
}

TEST(Predicate, CanonicalTextsTellAllApart) {
  const char* const conditions[] = {
      "equals { string_value: 'a' }",
      "equals { string_value: 'A' }",
      "equals { string_value: 'A' } ignore_case: true",
      "equals { string_value: '7' }",
      "equals { number_value: 7 }",
      "equals { string_value: 'true' }",
      "equals { bool_value: true }",
      "equals { bool_value: false }",
      "equals { string_value: '' }",
      "not_equals { string_value: 'a' }",
      "greater_than { string_value: 'a' }",
      "at_least { string_value: 'a' }",
      "less_than { string_value: 'a' }",
      "at_most { string_value: 'a' }",
      "contains: 'a'",
      "not_contains: 'a'",
      "starts_with: 'a'",
      "ends_with: 'a'",
      "matches: 'a'",
      "matches: 'A'",
      "matches: 'a' ignore_case: true",
      "contains: 'a' ignore_case: true",
      "exists: true",
      "exists: false",
      "before: '2026-01-01'",
      "after: '2026-01-01'",
      "within_last: '1d'",
      "within_next: '1d'",
      "within_last: '2d'",
      "in { values { string_value: 'a' } values { string_value: 'b' } }",
      "in { values { string_value: 'a s1:b' } values { string_value: 'c' } }",
      "in { values { string_value: 'a' } values { string_value: 'b s1:c' } }",
      "not_in { values { string_value: 'a' } values { string_value: 'b' } }",
      "between { values { string_value: 'a' } values { string_value: 'b' } }",
      "in { values { number_value: 1 } values { number_value: 12 } }",
      "in { values { number_value: 11 } values { number_value: 2 } }",
      "equals { number_value: 0.1 }",
      "equals { number_value: 0.10000000000000002 }",
  };
  std::map<std::string, const char*> seen;
  for (const char* condition : conditions) {
    const auto [other, added] = seen.emplace(Compile(condition).canonical(), condition);
    EXPECT_TRUE(added) << condition << " and " << other->second;
  }
}

TEST(Predicate, CanonicalTextKnowsNoOrderOfAList) {
  EXPECT_EQ(Compile("in { values { number_value: 7 } values { number_value: 8 } }").canonical(),
            Compile("in { values { number_value: 8 } values { number_value: 7 } }").canonical());
}

TEST(Predicate, RefusalsSayWhatIsAllowed) {
  EXPECT_THAT(Refusal(""), HasSubstr("no operator"));
  EXPECT_THAT(Refusal("ignore_case: true"), HasSubstr("no operator"));
  EXPECT_THAT(Refusal("equals { null_value: NULL_VALUE }"),
              HasSubstr("must be a string, a number"));
  EXPECT_THAT(Refusal("equals { }"), HasSubstr("must be a string, a number"));
  EXPECT_THAT(Refusal("equals { struct_value { } }"), HasSubstr("must be a string, a number"));
  EXPECT_THAT(Refusal("equals { list_value { values { number_value: 7 } } }"), HasSubstr("`in`"));
  EXPECT_THAT(Refusal("equals { number_value: nan }"), HasSubstr("finite"));
  EXPECT_THAT(Refusal("at_most { number_value: inf }"), HasSubstr("finite"));
  EXPECT_THAT(Refusal("greater_than { bool_value: true }"), HasSubstr("no order"));
  EXPECT_THAT(Refusal("in { }"), HasSubstr("must not be empty"));
  EXPECT_THAT(Refusal("not_in { }"), HasSubstr("must not be empty"));
  EXPECT_THAT(Refusal("in { values { number_value: 7 } values { list_value { } } }"),
              HasSubstr("a list is not allowed"));
  EXPECT_THAT(Refusal("between { values { number_value: 7 } }"), HasSubstr("[low, high]"));
  EXPECT_THAT(Refusal("between { values { number_value: 7 } values { string_value: 'a' } }"),
              HasSubstr("two numbers or two strings"));
  EXPECT_THAT(Refusal("between { values { bool_value: false } values { bool_value: true } }"),
              HasSubstr("two numbers or two strings"));
  EXPECT_THAT(Refusal("between { values { number_value: 7 } values { number_value: 6 } }"),
              HasSubstr("low must not be greater"));
  EXPECT_THAT(Refusal("matches: '('"), HasSubstr("missing )"));
  EXPECT_THAT(Refusal("matches: '(?=a)'"), HasSubstr("RE2"));
  EXPECT_THAT(Refusal("matches: '((a{100}){100}){100}'"), HasSubstr("RE2"));
  EXPECT_THAT(Refusal("matches: '(\\\\pL{300}){3}'"), HasSubstr("limit of 1 MiB"));
  EXPECT_THAT(Refusal("before: 'tomorrow'"), HasSubstr("must be a date such as"));
  EXPECT_THAT(Refusal("after: ''"), HasSubstr("must be a date such as"));
  EXPECT_THAT(Refusal("within_last: '30'"), HasSubstr("a unit is missing"));
  EXPECT_THAT(Refusal("within_last: '0s'"), HasSubstr("longer than 0"));
  EXPECT_THAT(Refusal("within_next: '-1d'"), HasSubstr("negative"));
}

TEST(Predicate, TestsWithoutAllocating) {
  const char* const conditions[] = {
      "equals { string_value: 'a longer text than fits into a std::string' }",
      "in { values { string_value: 'a' } values { number_value: 7 } }",
      "greater_than { string_value: 'a' }",
      "contains: 'text'",
      "starts_with: 'a'",
      "ends_with: 'b'",
      "matches: 'f(it|ut)s'",
      "before: '2026-11-22'",
      "within_last: '1d'",
      "contains: 'TEXT' ignore_case: true",
  };
  const Value items[] = {S("a longer text than fits into a std::string"), N(7),
                         S("2026-11-22T09:00:00Z")};
  for (const char* condition : conditions) {
    const Predicate predicate = Compile(condition);
    // RE2 builds its automaton with the first texts.
    for (const Value& item : items) predicate.holds(item, kNow);
    const size_t before = allocations;
    bool any = predicate.holds(Value::List(items), kNow);
    for (const Value& item : items) any |= predicate.holds(item, kNow);
    EXPECT_EQ(allocations, before) << condition << (any ? "" : " ");
  }
}

TEST(Predicate, CopiesShareWhatIsCompiled) {
  Predicate copy;
  {
    const Predicate predicate =
        Compile("in { values { string_value: 'one' } values { string_value: 'two' } }");
    copy = predicate;
  }
  EXPECT_TRUE(copy.holds(S("two"), kNow));
  EXPECT_FALSE(copy.holds(S("three"), kNow));
}

}  // namespace
}  // namespace segmentd
