// SPDX-License-Identifier: BSD-3-Clause
// Meters as text.
#include "control/flow_meter_text.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace strait::control {
namespace {

using testing::HasSubstr;

std::string refused(std::string_view text, meter_command command = meter_command::add)
{
    const auto out = parse_meter(text, command);
    EXPECT_TRUE(out.has_error()) << text;
    return out.has_error() ? out.error().message : "";
}

TEST(meter_text, says_all_of_a_meter)
{
    const auto m =
        parse_meter("meter=1 pktps burst stats bands=type=drop rate=10,burst_size=5,type=drop,"
                    "rate=20",
                    meter_command::add)
            .value()
            .meter;
    EXPECT_EQ(m, (flow::meter_settings{.id = 1,
                                       .in_packets = true,
                                       .burst = true,
                                       .stats = true,
                                       .bands = {{10, 5}, {20, 0}}}));
    EXPECT_EQ(format_meter(m), "meter=1,pktps,burst,stats,bands=type=drop,rate=10,burst_size=5,"
                               "type=drop,rate=20");
    EXPECT_EQ(parse_meter(format_meter(m), meter_command::add).value().meter, m);
    const auto other =
        parse_meter("meter=0xffff0000,kbps,band=type=drop,rate=4294967295", meter_command::modify)
            .value()
            .meter;
    EXPECT_EQ(other.id, 0xffff0000);
    EXPECT_FALSE(other.in_packets);
}

TEST(meter_text, removes_one_or_all)
{
    EXPECT_TRUE(parse_meter("meter=all", meter_command::remove).value().every);
    EXPECT_EQ(parse_meter("meter=3", meter_command::remove).value().meter.id, 3U);
    EXPECT_THAT(refused("meter=3,kbps", meter_command::remove), HasSubstr("number is enough"));
    EXPECT_THAT(refused("meter=3,bands=type=drop,rate=1", meter_command::remove),
                HasSubstr("number is enough"));
}

TEST(meter_text, that_cannot_be_is_refused_where_it_is_wrong)
{
    const auto with = [](std::string_view bands) {
        return refused("meter=1,kbps,bands=" + std::string{bands});
    };
    EXPECT_EQ(refused("kbps,bands=type=drop,rate=1"),
              "column 28: the meter's number is missing: meter=1");
    EXPECT_THAT(refused("meter=0,kbps,bands=type=drop,rate=1"), HasSubstr("from 1"));
    EXPECT_THAT(refused("meter=all,kbps,bands=type=drop,rate=1"), HasSubstr("column 7"));
    EXPECT_THAT(refused("meter=slowpath,kbps,bands=type=drop,rate=1"), HasSubstr("no controller"));
    EXPECT_THAT(refused("meter=1,bands=type=drop,rate=1"), HasSubstr("kbps or pktps"));
    EXPECT_THAT(refused("meter=1,kbps,pktps,bands=type=drop,rate=1"), HasSubstr("not both"));
    EXPECT_THAT(refused("meter=1,kbps"), HasSubstr("has no band"));
    EXPECT_EQ(refused("meter=1,kbpz,bands=type=drop,rate=1"),
              "column 9: \"kbpz\" is no word of a meter; did you mean kbps?");
    EXPECT_THAT(refused("meter=1,kbps=5,bands=type=drop,rate=1"), HasSubstr("takes no value"));
    EXPECT_THAT(refused("meter=1,kbps,kbps,bands=type=drop,rate=1"), HasSubstr("once"));
    EXPECT_EQ(with("type=dscp_remark,rate=1,prec_level=1"),
              "column 25: dscp_remark is not supported: a band drops (type=drop)");
    EXPECT_THAT(with("type=dorp,rate=1"), HasSubstr("it must be drop"));
    EXPECT_THAT(with("type=drop"), HasSubstr("the band has no rate"));
    EXPECT_THAT(with("type=drop,type=drop,rate=1"), HasSubstr("the band before has no rate"));
    EXPECT_THAT(with("rate=1"), HasSubstr("begins with its type"));
    EXPECT_THAT(with("type=drop,rate=0"), HasSubstr("1 or more"));
    EXPECT_THAT(with("type=drop,rate=4294967296"), HasSubstr("column"));
    EXPECT_THAT(with("type=drop,rate=1,rate=2"), HasSubstr("once"));
    EXPECT_THAT(with("type=drop,rate=1,burst_size=2"), HasSubstr("needs the meter's word burst"));
    EXPECT_THAT(with("type=drop,rate=1,prec_level=2"), HasSubstr("no word of a band"));
    std::string many = "type=drop,rate=1";
    for (std::size_t i = 0; i < flow::most_bands; ++i) {
        many += ",type=drop,rate=1";
    }
    EXPECT_THAT(with(many), HasSubstr("8 bands at most"));
}

} // namespace
} // namespace strait::control
