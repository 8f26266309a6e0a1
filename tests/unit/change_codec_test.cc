#include "stream/change_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>

#include "proto/segments/v1/change.pb.h"
#include "proto/segments/v1/definition.pb.h"

namespace segmentd {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

segments::v1::Segment Gold() {
  segments::v1::Segment segment;
  segment.set_id("1739791829");
  segment.set_name("Gold Users");
  segment.mutable_api()->set_customer_segment_id("SEG12345");
  segment.set_version(3);
  return segment;
}

Time At(std::string_view text) {
  Time time;
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

Change Inaction() {
  return {.action = segments::v1::ADD,
          .slot = 0,
          .at = At("2026-11-22T09:30:00Z"),
          .reason = segments::v1::INACTION,
          .cause_event = "Added to Cart",
          .cause_at = At("2026-11-22T09:20:00Z"),
          .cause_message_id = ""};
}

std::string Encode(ChangeFormat format, const Change& change, const segments::v1::Segment& segment,
                   std::string_view user, int64_t number, std::string_view topic = "events",
                   Partition partition = 2) {
  ChangeEncoder encoder(format, topic, partition);
  std::string out;
  encoder.append(change, segment, user, number, &out);
  return out;
}

TEST(ChangeCodec, WritesTheRecordOfTheSpecification) {
  EXPECT_EQ(
      Encode(ChangeFormat::kJson, Inaction(), Gold(), "u42", 81734),
      R"({"type":"Segment Membership Change","action":"ADD","segment_id":"1739791829","segment_name":"Gold Users",)"
      R"("customer_segment_id":"SEG12345","user_id":"u42","at":"2026-11-22T09:30:00.000Z","reason":"INACTION",)"
      R"("cause":{"event":"Added to Cart","at":"2026-11-22T09:20:00.000Z"},)"
      R"("segment_version":3,"change_id":"events-2:81734"})");
}

TEST(ChangeCodec, LeavesOutWhatThereIsNot) {
  segments::v1::Segment segment;
  segment.set_id("carts");
  segment.set_name("Carts");
  segment.set_version(1);
  Change change = Inaction();
  change.cause_event = "";
  change.reason = segments::v1::EXPIRED;
  change.action = segments::v1::REMOVE;
  EXPECT_EQ(
      Encode(ChangeFormat::kJson, change, segment, "u", 0, "prod.events", 0),
      R"({"type":"Segment Membership Change","action":"REMOVE","segment_id":"carts","segment_name":"Carts",)"
      R"("user_id":"u","at":"2026-11-22T09:30:00.000Z","reason":"EXPIRED",)"
      R"("segment_version":1,"change_id":"prod.events-0:0"})");
}

TEST(ChangeCodec, NamesTheMessageOfTheEvent) {
  Change change = Inaction();
  change.cause_message_id = "m-1";
  EXPECT_THAT(
      Encode(ChangeFormat::kJson, change, Gold(), "u", 1),
      HasSubstr(R"("at":"2026-11-22T09:20:00.000Z","message_id":"m-1"},"segment_version")"));
}

TEST(ChangeCodec, EscapesWhatJsonAsksFor) {
  EXPECT_THAT(Encode(ChangeFormat::kJson, Inaction(), Gold(), "a\"b\\c\b\f\n\r\t\x01\x1f/\x7f", 1),
              HasSubstr(R"("user_id":"a\"b\\c\b\f\n\r\t\u0001\u001f/)"
                        "\x7f\""));
  // Whole characters stay.
  EXPECT_THAT(Encode(ChangeFormat::kJson, Inaction(), Gold(), "Zoë 日本 🎉", 1),
              HasSubstr("\"user_id\":\"Zoë 日本 🎉\""));
}

TEST(ChangeCodec, ReplacesWhatIsNoUtf8) {
  const std::string replaced = "\xEF\xBF\xBD";
  for (const auto& [bad, count] : std::vector<std::pair<std::string, int>>{
           {"\x80", 1},              // a continuation alone
           {"\xC3", 1},              // cut off
           {"\xE6\x97", 2},          // cut off
           {"\xC0\xAF", 2},          // overlong
           {"\xE0\x80\xAF", 3},      // overlong
           {"\xED\xA0\x80", 3},      // a surrogate
           {"\xF4\x90\x80\x80", 4},  // over U+10FFFF
           {"\xFF", 1},
       }) {
    std::string expected = "a";
    for (int i = 0; i < count; ++i) expected += replaced;
    expected += "b";
    const std::string user = "a" + bad + "b";
    for (const ChangeFormat format : {ChangeFormat::kJson, ChangeFormat::kProtobuf}) {
      const auto change = DecodeChange(Encode(format, Inaction(), Gold(), user, 1));
      ASSERT_TRUE(change.ok()) << change.status().message();
      EXPECT_EQ(change->user_id(), expected);
    }
  }
}

TEST(ChangeCodec, KeepsTheProtobufFormOfTheSpecification) {
  const auto change =
      DecodeChange(Encode(ChangeFormat::kProtobuf, Inaction(), Gold(), "u42", 81734));
  ASSERT_TRUE(change.ok()) << change.status().message();
  EXPECT_EQ(change->action(), segments::v1::ADD);
  EXPECT_EQ(change->segment_id(), "1739791829");
  EXPECT_EQ(change->segment_name(), "Gold Users");
  EXPECT_EQ(change->customer_segment_id(), "SEG12345");
  EXPECT_EQ(change->user_id(), "u42");
  EXPECT_EQ(change->at().seconds(), 1'795'339'800);
  EXPECT_EQ(change->reason(), segments::v1::INACTION);
  EXPECT_EQ(change->cause().event(), "Added to Cart");
  EXPECT_EQ(change->cause().at().seconds(), 1'795'339'800 - 600);
  EXPECT_EQ(change->segment_version(), 3);
  EXPECT_EQ(change->change_id(), "events-2:81734");
}

// Any bytes anywhere: both forms can be read, and say the same.
RC_GTEST_PROP(ChangeCodec, BothFormsSayTheSame, ()) {
  const auto bytes = [] { return *rc::gen::arbitrary<std::string>(); };
  segments::v1::Segment segment;
  segment.set_id(bytes());
  segment.set_name(bytes());
  segment.mutable_api()->set_customer_segment_id(bytes());
  segment.set_version(*rc::gen::inRange<int64_t>(0, 1'000'000));
  const std::string user = bytes();
  const std::string event = bytes();
  const std::string message_id = bytes();
  // Year 1 to 9999.
  const auto time = [] {
    return Time::Millis(*rc::gen::inRange<int64_t>(-62'135'596'800'000, 253'402'300'800'000));
  };
  const Change change = {.action = static_cast<Action>(*rc::gen::inRange(1, 4)),
                         .slot = 0,
                         .at = time(),
                         .reason = static_cast<Reason>(*rc::gen::inRange(1, 15)),
                         .cause_event = event,
                         .cause_at = time(),
                         .cause_message_id = message_id};
  const int64_t number = *rc::gen::inRange<int64_t>(0, INT64_MAX);
  const auto json = DecodeChange(Encode(ChangeFormat::kJson, change, segment, user, number));
  const auto proto = DecodeChange(Encode(ChangeFormat::kProtobuf, change, segment, user, number));
  RC_ASSERT(json.ok());
  RC_ASSERT(proto.ok());
  RC_ASSERT(MessageDifferencer::Equals(*json, *proto));
  const auto id = ParseChangeId(json->change_id());
  RC_ASSERT(id.ok());
  RC_ASSERT(id->number == number);
}

TEST(ChangeCodec, AppendsBehindWhatIsThere) {
  ChangeEncoder encoder(ChangeFormat::kProtobuf, "events", 0);
  std::string out = "x";
  // A second change shows nothing of the first.
  Change change = Inaction();
  encoder.append(change, Gold(), "someone with a long name", 1, &out);
  out = "x";
  change.cause_event = "";
  encoder.append(change, Gold(), "u", 2, &out);
  ASSERT_EQ(out.front(), 'x');
  const auto decoded = DecodeChange(std::string_view(out).substr(1));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->user_id(), "u");
  EXPECT_FALSE(decoded->has_cause());
}

TEST(ChangeCodec, SaysWhatIsWrong) {
  const std::string good = Encode(ChangeFormat::kJson, Inaction(), Gold(), "u42", 1);
  const auto error_of = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const auto change = DecodeChange(text);
    EXPECT_FALSE(change.ok()) << text;
    return change.ok() ? "" : std::string(change.status().message());
  };
  EXPECT_THAT(error_of("Segment Membership Change", "Something"), HasSubstr("type"));
  EXPECT_THAT(error_of("\"ADD\"", "\"PERHAPS\""), HasSubstr("action"));
  EXPECT_THAT(error_of("INACTION", "BOREDOM"), HasSubstr("reason"));
  EXPECT_THAT(error_of("\"user_id\"", "\"user\""), HasSubstr("user_id"));
  EXPECT_THAT(error_of("2026-11-22T09:30", "yesterday"), HasSubstr("at"));
  EXPECT_THAT(error_of(":3,", ":\"3\","), HasSubstr("segment_version"));
  EXPECT_FALSE(DecodeChange("").ok());
  EXPECT_FALSE(DecodeChange("{").ok());
  EXPECT_FALSE(DecodeChange("nonsense").ok());
}

TEST(ChangeCodec, ReadsChangeIds) {
  const auto id = ParseChangeId("prod-1.events-12:81734");
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(id->topic, "prod-1.events");
  EXPECT_EQ(id->partition, 12);
  EXPECT_EQ(id->number, 81734);
  for (const char* bad :
       {"", "events", "events-2", "events:3", "-2:3", "events-2:", "events-:3", "events-2:3x",
        "events-x:3", "events-2:-3", "events-2:99999999999999999999"}) {
    EXPECT_FALSE(ParseChangeId(bad).ok()) << bad;
  }
}

TEST(ChangeCodec, KnowsItsFormats) {
  EXPECT_EQ(*ParseChangeFormat("json"), ChangeFormat::kJson);
  EXPECT_EQ(*ParseChangeFormat("protobuf"), ChangeFormat::kProtobuf);
  EXPECT_THAT(std::string(ParseChangeFormat("avro").status().message()), HasSubstr("protobuf"));
}

}  // namespace
}  // namespace segmentd
