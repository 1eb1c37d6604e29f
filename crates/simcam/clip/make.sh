#!/bin/sh
# Makes the simulated camera's clip: 20 s of H.264 with a running clock and a moving bar, one key frame a second, no B frames.
# It is played in a loop, so that frame N of the loop always shows the same time. Needs ffmpeg with libx264 and the font below
# (Debian: ffmpeg, fonts-dejavu-core). The clip is committed because its encoder is not the same everywhere.
set -eu
cd "$(dirname "$0")"
FONT=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf
ffmpeg -v error -y -f lavfi -i "color=c=0x16324a:s=640x360:r=15:d=20" -vf "
drawbox=x=0:y=250:w=640:h=110:color=0x0d1f2e:t=fill,
drawgrid=w=80:h=60:t=1:c=0x24506f,
drawtext=fontfile=$FONT:text='%{pts\:gmtime\:0\:%M\\\\\:%S}':fontsize=110:fontcolor=white:x=(w-tw)/2:y=80,
drawtext=fontfile=$FONT:text='frame %{n}':fontsize=30:fontcolor=0xffd166:x=40:y=280,
drawtext=fontfile=$FONT:text='MOORLINE':fontsize=30:fontcolor=0x9ad1ff:x=w-tw-40:y=280,
drawtext=fontfile=$FONT:text='###':fontsize=44:fontcolor=0xef476f:x='mod(n*640/30\,640)':y=322" \
  -c:v libx264 -profile:v main -preset slow -crf 26 -pix_fmt yuv420p -bf 0 -refs 1 \
  -x264-params keyint=15:min-keyint=15:scenecut=0:repeat-headers=1:sliced-threads=0:aud=0 -threads 1 \
  -bsf:v h264_mp4toannexb -f h264 clock.h264
ls -l clock.h264
