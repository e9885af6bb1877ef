"""The contest: who is champion, what is to be measured, who wins. Pure: values in, values out."""
